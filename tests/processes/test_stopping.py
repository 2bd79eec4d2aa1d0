"""Signals and other requests to stop."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from dptrain.__main__ import Interrupts
from dptrain.cluster.events import StopRequested
from dptrain.net.wakeup import wait
from dptrain.processes.stopping import ECHO, Interrupted, StopFlag, StopSignals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_wakes_the_poll_and_is_reported_once_by_its_name(number, code):
    with StopSignals() as stop:
        assert stop.take() is None
        os.kill(os.getpid(), number)
        wait(stop.filenos, 120.0)
        request = stop.take()
        assert request == StopRequested(number.name)
        assert request.exit_code == code
        assert stop.take() is None


def test_a_second_ctrl_c_does_not_wait_for_anything_and_says_so(capfd):
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        stop.take()
        time.sleep(2 * ECHO)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == "dptrain: SIGINT again: ending at once; steps after the last checkpoint are lost\n"


def test_the_same_signal_repeated_at_once_counts_as_one_request(monkeypatch):
    """`timeout -s INT` sends two: to the process, and to its group."""
    monkeypatch.setattr("dptrain.processes.stopping.ECHO", 60.0)  # on a busy machine "at once" may take a while
    with StopSignals() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.take() == StopRequested("SIGINT")
        assert stop.take() is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_first_poll_interrupts_the_preparation_and_a_later_one_does_not(number, code):
    with StopSignals(preparing=True) as stop:
        with pytest.raises(Interrupted) as caught:
            os.kill(os.getpid(), number)
        assert (str(caught.value), caught.value.exit_code) == (number.name, code)
        assert stop.take() == StopRequested(number.name), "should the exception be swallowed, the wish stays"
    with StopSignals(preparing=True) as stop:
        stop.prepared()
        os.kill(os.getpid(), number)
        assert stop.take() == StopRequested(number.name)


def test_a_ctrl_c_that_an_import_swallowed_ends_the_run_before_it_begins():
    before = signal.signal(signal.SIGINT, Interrupts())
    try:
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), StopSignals(preparing=True):
            pass
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_as_before_after_the_block_and_what_was_ignored_stays_so(links):
    before, descriptors = signal.getsignal(signal.SIGTERM), links.descriptors()
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.take() is None
    finally:
        signal.signal(signal.SIGHUP, old)
    assert signal.getsignal(signal.SIGTERM) is before
    assert links.descriptors() == descriptors


def test_the_end_of_the_launcher_requests_a_stop():
    code = (
        "from dptrain.processes.stopping import StopSignals\n"
        "from dptrain.net.wakeup import wait\n"
        "with StopSignals(launched=True) as stop:\n"
        "    print(stop.take(), flush=True)\n"
        "    wait(stop.filenos, 60.0)\n"
        "    print(stop.take().reason, stop.take(), len(stop.filenos), flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "None\n"
    child.stdin.close()
    assert child.stdout.read() == "the launcher has gone None 1\n"
    assert child.wait(120) == 0
    child.stdout.close()


def test_a_flag_is_set_from_another_thread_and_taken_once():
    flag = StopFlag()
    thread = threading.Thread(target=lambda: flag.set("enough"))
    thread.start()
    wait(flag.filenos, 120.0)
    assert flag.take() == StopRequested("enough")
    assert flag.take() is None
    thread.join()
    flag.close()
