"""Preparation: its result, its error, and a signal that neither waits for it nor disturbs it."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from dptrain.processes.stopping import Interrupted, Preparation, StopSignals


def test_a_preparation_returns_or_raises_the_outcome_of_its_work():
    preparation = Preparation()
    assert preparation.run(lambda: 6 * 7) == 42
    with pytest.raises(ZeroDivisionError):
        preparation.run(lambda: 1 // 0)
    assert preparation.leave(3) == 3, "nothing goes on"


def test_a_signal_ends_the_wait_and_the_work_goes_on_undisturbed():
    begun, release, finished = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        release.wait(120)
        finished.set()

    def interrupt():
        begun.wait(120)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with StopSignals(preparing=True), pytest.raises(Interrupted, match="SIGTERM"):
        Preparation().run(work)
    assert not finished.is_set()
    release.set()
    assert finished.wait(120)


@pytest.mark.parametrize("when", [0.0, 0.3])
def test_leaving_ends_the_process_with_the_code_while_the_work_goes_on(when):
    """At once, and while it is waited for: there CPython's Thread.join takes the thread for dead (gh-90882)."""
    program = (
        "import os, signal, time\n"
        "from dptrain.processes.stopping import Preparation\n"
        "from dptrain.processes.stopping import Interrupted, StopSignals\n"
        "preparation = Preparation()\n"
        "try:\n"
        "    with StopSignals(preparing=True):\n"
        f"        preparation.run(lambda: (time.sleep({when}), os.kill(os.getpid(), signal.SIGINT), time.sleep(600)))\n"
        "except Interrupted as interrupted:\n"
        "    print('left', flush=False)\n"
        "    preparation.leave(interrupted.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "left\n", "")
