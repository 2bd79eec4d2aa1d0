"""G1 with real processes: the state after every step has the same SHA-256 in every deployment."""

import json
import os
import random
import shutil
import signal

import pytest

from dptrain.kernels import isa
from simulation import traces
from simulation.processes import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SAME = "identical over 60 common steps (1 to 60)\n"
WHOLE = ["--max-steps", 60]
TCP = ["--bind", "tcp://127.0.0.1:0"]


@pytest.mark.parametrize(
    "deployment",
    [
        pytest.param(["--workers", 2, "--augmenters", 2], id="2-workers-2-augmenters-ipc"),
        pytest.param(["--workers", 4, "--augmenters", 1, *TCP], id="4-workers-1-augmenter-tcp"),
    ],
)
def test_neither_workers_nor_augmenters_nor_the_transport_change_a_bit(runs, reference, deployment):
    """tests/system/test_loop.py has 1 worker and 3 workers, without augmenters."""
    runs.finished(runs.train("other", *deployment, *WHOLE), "other")
    assert runs.verify(reference, runs.path("other")) == (0, SAME)
    assert traces.records(runs.path("other")) == traces.records(reference)


def test_a_worker_that_is_killed_and_one_that_comes_late_change_nothing(runs, reference, port):
    """All others are paused until the newcomer is there, or the run would end first. It runs portable code: machines
    may differ.
    """
    step = random.Random(os.getpid()).randint(2, 35)
    process = runs.train("killed", "--workers", 2, "--augmenters", 1, "--bind", f"tcp://127.0.0.1:{port}", *WHOLE)
    runs.until_step("killed", step)
    killed, other = runs.members("worker")
    os.kill(other, signal.SIGSTOP)
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(set(runs.members("worker")) - {killed}) == 2, 60, lambda: runs.output("killed"))
    paused = set(runs.members("worker")) - {killed}
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    late = runs.start("worker", "--connect", f"tcp://127.0.0.1:{port}", "--name", "late", "--isa", "portable")
    runs.until_said("killed", "worker late admitted")
    for pid in paused:
        os.kill(pid, signal.SIGCONT)
    runs.finished(process, "killed")
    runs.finished(late, "worker")
    assert "exited with signal 9" in (runs.path("killed") / "logs" / "coordinator.log").read_text()
    assert runs.verify(reference, runs.path("killed")) == (0, SAME), f"killed at step {step}"


def test_a_run_stopped_twice_and_resumed_with_other_workers_has_the_same_bits(runs, reference):
    runs.finished(runs.train("again", "--workers", 2, "--max-steps", 17), "again")
    process = runs.resume("again", "--workers", 3, "--augmenters", 1)
    runs.until_step("again", 35)
    process.send_signal(signal.SIGTERM)
    runs.finished(process, "again", 143)
    assert 35 <= traces.step(runs.path("again")) < 60
    runs.finished(runs.resume("again", "--workers", 0, *WHOLE), "again")
    assert runs.verify(reference, runs.path("again")) == (0, SAME)
    assert traces.records(runs.path("again")) == traces.records(reference)


@pytest.mark.parametrize("level", [level for level in isa.available() if level != isa.available()[0]])
def test_the_flag_isa_changes_the_instructions_and_not_the_bits(runs, reference, level):
    """The reference uses the best there is."""
    runs.finished(runs.train(level, "--workers", 1, "--isa", level, "--max-steps", 12), level)
    assert f"isa {level}" in runs.output(level)
    assert runs.verify(reference, runs.path(level)) == (0, "identical over 12 common steps (1 to 12)\n")


def test_verify_names_the_first_step_and_tensor_that_differ(runs, reference):
    copy = runs.folder / "copy"
    copy.mkdir()
    shutil.copy(reference / "hashes.jsonl", copy)
    records = [json.loads(line) for line in (copy / "hashes.jsonl").read_text().splitlines()]
    name = "model.layer2.0.bn1.running_var"
    digest = records[40]["tensors"][name]
    flipped = f"{int(digest, 16) ^ 1:016x}"
    records[40]["tensors"][name] = flipped
    records[40]["sha256"] = "0" * 64
    (copy / "hashes.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert runs.verify(reference, copy) == (
        1,
        f"different from step 41 on: first tensor {name} ({digest} and {flipped}); step 40 was still equal\n",
    )


def test_verify_reports_that_runs_of_two_seeds_differ(runs, reference):
    runs.finished(runs.train("seed", "--workers", 1, "--seed", 1, "--max-steps", 2), "seed")
    code, said = runs.verify(reference, runs.path("seed"))
    assert code == 1
    assert said.startswith("different from step 1 on: first tensor model.conv1.weight (")
