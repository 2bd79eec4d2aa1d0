"""Which processes end with which others, which one is named as the cause, and the exit codes; real processes."""

import shutil
import signal
import struct

import pytest

from dptrain.workers.coordinator import surplus
from simulation import traces
from simulation.processes import hit, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SOON = 60.0  #: seconds a test waits for what takes a few on a machine that is not busy with other things


def test_workers_and_augmenters_die_with_a_coordinator_that_is_killed_and_the_run_goes_on_from_its_checkpoint(
    runs, reference
):
    process = runs.train("a", "--workers", 2, "--augmenters", 2)
    runs.until_step("a", 25)
    assert len(runs.members("worker")) == 2
    assert len(runs.members("augmenter")) == 2
    process.kill()
    process.wait()
    until(lambda: not runs.members(), SOON, lambda: f"{runs.members()} are orphans")
    runs.finished(runs.resume("a", "--workers", 0, "--max-steps", 60), "a")
    assert runs.verify(reference, runs.path("a"))[0] == 0
    assert traces.records(runs.path("a")) == traces.records(reference)


def test_workers_elsewhere_outlive_the_coordinator_and_work_for_its_next_life(runs, reference, port):
    address = f"tcp://127.0.0.1:{port}"
    lead = ["--bind", address, "--name", "a"]
    first = runs.start("coordinator", *runs.flags, *lead, name="first")
    workers = [runs.start("worker", "--connect", address, "--name", name, name=name) for name in ("b", "c")]
    runs.until_step("a", 15)
    pids = {process.pid for process in workers}
    first.kill()
    first.wait()
    assert pids <= set(runs.members()), "a worker of another host does not die with the coordinator"
    second = runs.start("coordinator", *lead, "--resume", "auto", "--max-steps", 60, name="second")
    assert second.wait(240) == 0, runs.output("second")
    assert [process.wait(SOON) for process in workers] == [0, 0]
    assert "worker b admitted" in runs.output("second") + runs.output("first")
    assert "admitted" in runs.output("second")
    assert runs.verify(reference, runs.path("a"))[0] == 0


IDLE = "workers will only score and replace others"


@pytest.mark.parametrize(
    ("workers", "shards", "cores", "told"),
    [
        (2, 2, 2, []),
        (6, 2, 8, [f"4 of 6 {IDLE}: a step has 2 shards"]),
        (2, 4, 1, ["2 workers on 1 core: they start slowly and share the cores"]),
    ],
)
def test_workers_that_make_nothing_faster_are_reported_at_the_start(workers, shards, cores, told):
    assert surplus(workers, shards, cores) == told


@pytest.fixture
def digits(tmp_path):
    """A folder with an MNIST of 96 + 32 grey images."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for kind, count in (("train", 96), ("t10k", 32)):
        images = struct.pack(">HBB3I", 0, 8, 3, count, 12, 12) + bytes(i % 251 for i in range(count * 144))
        labels = struct.pack(">HBBI", 0, 8, 1, count) + bytes(i % 10 for i in range(count))
        (folder / f"{kind}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{kind}-labels-idx1-ubyte").write_bytes(labels)
    return folder


def test_a_worker_that_cannot_start_stops_the_run_and_is_named_with_its_error(runs, digits):
    """The data vanish after the coordinator has read them: the workers find nothing."""
    process = runs.start(
        *("train", "--dataset", "mnist", "--data-dir", digits, "--validation", 16, "--filters", 4, "--workers", 2),
        *("--batch-size", 32, "--shard-size", 16, "--name", "a"),
        name="a",
    )
    runs.until_said("a", "dir     ")
    shutil.rmtree(digits)
    assert process.wait(240) == 78, runs.output("a")
    said = runs.output("a")
    causes = [line for line in said.splitlines() if "exited with code 78 and is not started again" in line]
    assert len(causes) == 2, said
    assert all("dptrain: error: " in line for line in causes)
    final = said.splitlines()[-1]
    assert final.startswith("dptrain: error: no worker is left: w")
    assert said.index(causes[0]) < said.index("no worker is left")
    assert " | dptrain: error: " in said


def test_a_worker_without_a_coordinator_waits_and_one_that_asks_for_the_impossible_does_not(runs):
    waiting = runs.start("worker", "--connect", "tcp://127.0.0.1:1", name="waiting")
    wrong = runs.start("worker", "--connect", "tcp://127.0.0.1:1", "--isa", "mmx", name="wrong")
    nowhere = runs.start("worker", "--connect", "nowhere", name="nowhere")
    assert wrong.wait(SOON) in (64, 78)
    assert "mmx" in runs.output("wrong")
    assert nowhere.wait(SOON) == 78
    assert runs.output("nowhere").startswith("dptrain: error: --connect 'nowhere' is not an address")
    assert waiting.poll() is None, "it waits a minute for a coordinator"
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(SOON) in (143, -signal.SIGTERM)


def test_a_coordinator_without_workers_says_that_it_waits_and_can_be_stopped(runs):
    process = runs.start("coordinator", *runs.flags, "--bind", "tcp://127.0.0.1:0", "--name", "a", name="a")
    runs.until_said("a", "waiting for workers: none connected")
    process.send_signal(signal.SIGINT)
    runs.finished(process, "a", 130)
    assert (runs.path("a") / "checkpoints" / "last.safetensors").is_file()


def test_a_second_coordinator_of_a_run_is_refused_and_the_first_one_goes_on(runs):
    first = runs.train("a", "--workers", 1)
    runs.until_step("a", 2)
    second = runs.start("train", "--resume", "runs/a", name="second")
    assert second.wait(SOON) == 78
    assert f"runs/a is in use by pid {first.pid} on " in runs.output("second")
    first.send_signal(signal.SIGTERM)
    runs.finished(first, "a", 143)


def test_two_runs_on_one_machine_do_not_disturb_each_other(runs, reference):
    """Same flags, same moment; one has another seed, so that any exchange would show in the bits."""
    same = runs.train("same", "--workers", 1, "--augmenters", 1, "--max-steps", 30)
    other = runs.train("other", "--workers", 1, "--augmenters", 1, "--max-steps", 30, "--seed", 1)
    runs.until_step("same", 5)
    runs.until_step("other", 5)
    hit(runs.members("augmenter")[0], signal.SIGKILL)
    runs.finished(same, "same")
    runs.finished(other, "other")
    assert runs.verify(reference, runs.path("same")) == (0, "identical over 30 common steps (1 to 30)\n")
    assert runs.verify(reference, runs.path("other"))[0] == 1
