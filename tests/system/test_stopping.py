"""Ctrl-C and SIGTERM at any instant: a checkpoint, the right exit code, no process or unfinished file left."""

import os
import signal
import time

import pytest

from dptrain.processes.stopping import ECHO
from simulation import traces
from simulation.processes import hit, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

CODES = {"SIGINT": 130, "terminal": 130, "SIGTERM": 143, "SIGHUP": 129}
CREW = ["--workers", 1, "--augmenters", 1]  #: every process costs its imports
SOON = 60.0  #: seconds a test waits for what takes less than 5 on a machine that is not busy with other things


def with_coordinator(names):
    """These names of sockets, if one of them is a coordinator's."""
    return names if any("coordinator" in name for name in names) else set()


def test_a_signal_during_training_leaves_a_checkpoint_and_nothing_else(runs, reference, interrupt):
    """Each start goes on where the last one was stopped; the end has the bits of the undisturbed run.

    The 36th step ends an epoch: the last signal comes during the validation and the checkpoint that follow it.
    """
    code = 0
    for at, how in ((5, "SIGTERM"), (20, "terminal"), (36, "SIGHUP")):
        before = traces.step(runs.path("a"))  # may be beyond `at`, where others kept this test from its CPU
        process = runs.train("a", "--workers", 2, "--augmenters", 1, "--resume", "auto", "--keep", 1)
        runs.until_step("a", max(at, before + 1))
        sockets = until(lambda: with_coordinator(traces.sockets_of(runs.members())), SOON, lambda: "no socket of it")
        interrupt(process, how)
        code = process.wait(SOON)
        assert code == CODES[how], runs.output("a")
        until(lambda: not runs.members(), SOON, lambda: f"{runs.members()} outlived it")
        assert traces.unfinished(runs.folder) == []
        assert sockets.isdisjoint(traces.bound_sockets().values())
        assert "continue: dptrain train --resume runs/a" in runs.output("a")
        assert traces.step(runs.path("a")) >= at
    runs.finished(runs.resume("a", "--workers", 0, "--max-steps", 60), "a")
    assert runs.verify(reference, runs.path("a"))[0] == 0
    assert traces.records(runs.path("a")) == traces.records(reference)


@pytest.mark.parametrize(
    ("how", "said"),
    [("SIGTERM", ["", "admitted"]), ("terminal", ["dir     ", "admitted"])],  # from "dir" on there are children
    ids=["SIGTERM", "terminal"],
)
def test_a_signal_while_the_run_starts_leaves_nothing_at_all(runs, reference, interrupt, how, said):
    """At three instants between the first line of code and the first step."""
    for n, text in enumerate(said):
        name = f"{how}{n}"
        process = runs.train(name, *CREW)
        if text:
            runs.until_said(name, text)
        else:
            time.sleep(0.6)  # somewhere in the imports: any instant will do
        interrupt(process, how)
        code = process.wait(SOON)
        assert code in (CODES[how], -signal.SIGINT, -signal.SIGTERM), runs.output(name)
        until(lambda: not runs.members(), SOON, lambda: f"{runs.members()} outlived it")
        assert traces.unfinished(runs.folder) == []
        run = runs.path(name)
        assert not run.exists() or (run / "checkpoints" / "last.safetensors").is_file(), "neither new nor begun"


@pytest.mark.parametrize("how", ["SIGTERM", "terminal"])
def test_a_signal_while_kernels_are_compiled_does_not_wait_for_them(runs, interrupt, tmp_path, how):
    """An empty cache: compiling takes far longer than this test waits for its end."""
    process = runs.start("train", "--name", "a", *CREW, name="a", environ={"DPTRAIN_CACHE": str(tmp_path / "cache")})
    runs.until_said("a", "compiling kernels")
    interrupt(process, how)
    assert process.wait(SOON) == CODES[how]
    assert f"SIG{'INT' if how == 'terminal' else 'TERM'}: stopped before the training began" in runs.output("a")
    assert not runs.path("a").exists()
    assert runs.members() == []
    assert traces.unfinished(runs.folder / "runs") == []


def test_a_second_ctrl_c_waits_for_nothing_and_saved_checkpoints_stay_intact(runs, reference):
    """The workers are paused, so that a patient end would take seconds."""
    process = runs.train("a", *CREW)
    runs.until_step("a", 12)
    paused = runs.members("worker")
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    hit(process.pid, signal.SIGINT)
    runs.until_said("a", "SIGINT: stopping")
    time.sleep(2 * ECHO)
    hit(process.pid, signal.SIGINT)
    assert process.wait(SOON) == 130
    runs.until_alone()  # the others die of its death, which it does not wait for
    runs.finished(runs.resume("a", "--workers", 0, "--max-steps", 60), "a")
    assert traces.unfinished(runs.folder) == []
    assert runs.verify(reference, runs.path("a"))[0] == 0


def test_a_stopped_remote_worker_leaves_and_one_whose_run_is_stopped_ends_too(runs, port):
    address = f"tcp://127.0.0.1:{port}"
    process = runs.train("a", "--workers", 1, "--bind", address)
    workers = [runs.start("worker", "--connect", address, "--name", name, name=name) for name in ("b", "c")]
    for name in ("b", "c"):
        runs.until_said("a", f"worker {name} admitted")
    workers[0].send_signal(signal.SIGTERM)
    assert workers[0].wait(SOON) == 143
    runs.until_said("a", "worker b lost: left: SIGTERM")
    process.send_signal(signal.SIGINT)
    assert process.wait(SOON) == 130
    assert workers[1].wait(SOON) == 0
    assert "SIGINT" in runs.output("c")


def test_when_the_shell_at_a_terminal_is_killed_the_run_ends_in_good_order(runs):
    """The kernel then sends SIGHUP to what runs in the foreground there."""
    shell = runs.train("a", *CREW, shell='"$@"; true')
    runs.until_step("a", 2)
    shell.kill()
    until(lambda: not runs.members(), SOON, lambda: f"{runs.members()} outlived the terminal")
    assert "SIGHUP: stopping" in runs.output("a")
    assert (runs.path("a") / "checkpoints" / "last.safetensors").is_file()
