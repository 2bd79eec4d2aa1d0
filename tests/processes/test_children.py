"""Real processes: their ends are seen, they are started again where they may be, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dptrain.cluster.events import Child, Gone
from dptrain.errors import run_code
from dptrain.net.wakeup import wait
from dptrain.processes.children import MOST, WITHIN, Children, ChildSpec, Restarts, describe
from dptrain.processes.stopping import INCARNATION, LAUNCHER, Interrupted


@pytest.mark.parametrize("code", [-9, -11, -15, 1, 70, 75])
def test_a_process_that_died_or_failed_is_started_again(code):
    assert Restarts().delay(code, 100.0) == pytest.approx(0.1)


@pytest.mark.parametrize("code", [0, 129, 130, 143, 78])
def test_an_end_that_was_asked_for_or_would_come_again_is_final(code):
    assert Restarts().delay(code, 100.0) is None


def test_delays_double_until_there_were_too_many_in_a_short_time():
    restarts = Restarts()
    delays = [restarts.delay(-9, 100.0 + n) for n in range(MOST + 1)]
    assert delays[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert all(delays[:MOST])
    assert delays[MOST] is None


def test_deaths_long_ago_do_not_count():
    restarts = Restarts()
    for n in range(5 * MOST):
        assert restarts.delay(-9, n * (WITHIN / MOST + 1)) is not None


def test_an_end_is_named_by_its_signal_or_its_code():
    assert describe(-9) == "exited with signal 9"
    assert describe(75) == "exited with code 75"


@pytest.mark.parametrize(("child", "run"), [(78, 78), (75, 75), (-9, 75), (0, 75), (70, 70), (1, 70)])
def test_the_exit_code_of_a_run_whose_workers_failed_tells_whether_to_start_it_again(child, run):
    assert run_code(child) == run


SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def alive(pid):
    """Neither gone nor a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def spec(tmp_path):
    def make(code, name="w0", *, worker=True):
        return ChildSpec(name, (sys.executable, "-S", "-c", code), tmp_path / f"{name}.log", worker)

    return make


def until_up(links, spec):
    links.until(lambda: (spec.log.exists() and "up" in spec.log.read_text()) or time.sleep(0.01))


def running():
    """The children of this process that run, by the name of their log: {"w0": (pid, command line)}."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if parent == str(os.getpid()) and state != "Z":
                words = (folder / "cmdline").read_text().split("\0")[:-1]
                found[(folder / "fd/1").readlink().stem] = int(folder.name), words
        except OSError:  # no process, or it ended meanwhile
            continue
    return {name: process for name, process in found.items() if LAUNCHER in process[1]}


def incarnation(name):
    """The incarnation on the command line of the process that runs under this name."""
    words = running()[name][1]
    return words[words.index(INCARNATION) + 1]


class Clock:
    """Stands still. `the_end` moves it on while no process runs: only then is a restart all there is to wait for."""

    now = 0.0

    def __call__(self):
        return self.now


def the_end(links, children, clock=None):
    """The first ends that are reported; with a `clock`, restarts take no time."""

    def look():
        if clock and not children.filenos:
            clock.now += 6.0
        wait(children.filenos, 1.0 if children.filenos else 0.0)
        return children.exits()

    return links.until(look)


def test_a_kill_is_seen_at_once_and_followed_by_another_life_with_another_incarnation(spec, links):
    clock = Clock()
    with Children([spec(SLEEP)], clock) as children:
        children.start()
        pid, first = running()["w0"][0], incarnation("w0")
        os.kill(pid, signal.SIGKILL)
        wait(children.filenos, 60.0)
        assert children.exits() == [Gone(Child("w0", first), "exited with signal 9", shards_suspect=False)]
        assert running() == {}
        assert children.failure is None, "it is going to live again"
        assert children.exits() == []
        assert running() == {}
        clock.now = 1.0
        assert children.exits() == []
        assert running()["w0"][0] != pid
        assert incarnation("w0") != first


def test_a_signal_between_the_start_of_a_process_and_its_watch_leaves_no_process_behind(spec, monkeypatch):
    started = []

    def interrupted(pid):
        started.append(pid)
        raise Interrupted("SIGINT")

    monkeypatch.setattr(os, "pidfd_open", interrupted)
    with pytest.raises(Interrupted), Children([spec(SLEEP), spec(SLEEP, "w1")]) as children:
        children.start()
    assert running() == {}
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_a_worker_that_says_78_is_not_started_again_and_the_run_cannot_go_on(spec, links):
    with Children([spec("raise SystemExit(78)"), spec(SLEEP, "a0", worker=False)]) as children:
        children.start()
        [left] = the_end(links, children)
        assert "exited with code 78 and is not started again; see " in left.reason
        code, reason = children.failure
        assert code == 78
        assert "no worker is left: w0 exited with code 78" in reason
        assert set(running()) == {"a0"}


def test_a_worker_that_dies_too_often_is_given_up(spec, links):
    clock = Clock()
    with Children([spec("raise SystemExit(75)")], clock) as children:
        children.start()
        ends = 0
        while children.failure is None:
            ends += len(the_end(links, children, clock))
        assert ends == 6
        assert children.failure[0] == 75


def test_an_augmenter_that_ends_by_itself_is_started_again_and_a_worker_that_was_stopped_is_not(spec, links):
    clock, lines = Clock(), "print('up')"
    augmenter, worker = spec(lines, "a0", worker=False), spec(lines)
    with Children([augmenter, worker], clock) as children:
        children.start()
        ends = []
        while [end.who.name for end in ends].count("a0") < 2:
            ends += the_end(links, children, clock)
        assert [end.who.name for end in ends].count("w0") == 1
    assert augmenter.log.read_text() == "up\n" * 2
    assert worker.log.read_text() == "up\n"


def test_the_run_goes_on_while_one_worker_is_left(spec, links):
    with Children([spec("raise SystemExit(78)"), spec(SLEEP, "w1")]) as children:
        children.start()
        the_end(links, children)
        assert children.failure is None


def test_no_process_is_left_after_stop_not_even_one_that_ignores_sigterm(spec, links):
    specs = [spec(SLEEP), spec(STUBBORN, "w1")]
    before = links.descriptors()
    children = Children(specs)
    children.start()
    for one in specs:
        until_up(links, one)
    assert set(running()) == {"w0", "w1"}
    start = time.monotonic()
    children.stop(grace=0.3)
    assert time.monotonic() - start < 60
    assert running() == {}
    children.stop()
    assert links.descriptors() == before


def test_children_are_stopped_when_the_block_is_left_by_an_error(spec):
    def fail():
        with Children([spec(SLEEP)]) as children:
            children.start()
            assert set(running()) == {"w0"}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert running() == {}


def test_the_output_of_a_child_is_in_its_log_and_it_computes_with_one_thread(spec, links):
    code = "import os, sys; print(os.environ['NUMBA_NUM_THREADS'], os.getpgrp() == os.getpid(), *sys.argv[1:])"
    one = spec(code)
    with Children([one]) as children:
        children.start()
        [end] = the_end(links, children)
    assert one.log.read_text() == f"1 True --launcher {os.getpid()} --incarnation {end.who.incarnation}\n"
    assert len(end.who.incarnation) == 32


def test_the_first_worker_that_failed_is_the_cause_and_its_last_lines_are_kept(spec, links):
    sad = spec("import sys; sys.exit('no data here\\n\\nnor there\\x1b[1m')", "w0")
    config = spec("print('a'); print('dptrain: error: wrong'); raise SystemExit(78)", "w1")
    clock = Clock()
    with Children([sad, config], clock) as children:
        children.start()
        ends = []
        while children.failure is None:
            ends += the_end(links, children, clock)
        code, reason = children.failure
        assert code == 78
        assert reason.startswith("no worker is left: w1 exited with code 78; see ")
        assert children.last_words == ["w1 | a", "w1 | dptrain: error: wrong"]
    reasons = [end.reason for end in ends]
    assert f"exited with code 78 and is not started again; see {config.log}: dptrain: error: wrong" in reasons
    assert "exited with code 1: nor there?[1m" in reasons


def test_a_bug_in_every_worker_ends_the_run_with_70_and_the_last_log_is_shown(spec, links):
    clock = Clock()
    with Children([spec("raise ZeroDivisionError")], clock) as children:
        children.start()
        while children.failure is None:
            the_end(links, children, clock)
        assert children.failure[0] == 70
        assert children.last_words[-1] == "w0 | ZeroDivisionError"
        assert len(children.last_words) < 6


WAITING = (
    "import sys, time; from dptrain.processes.stopping import wait_for; print('up', flush=True); wait_for(1);"
    "print('began', flush=True); {then}"
)


def waiting(tmp_path, then):
    """Not with -S: it imports dptrain."""
    return ChildSpec("w0", (sys.executable, "-c", WAITING.format(then=then)), tmp_path / "w0.log", worker=True)


def test_a_started_process_waits_for_begin_and_a_restarted_one_does_not(tmp_path, links):
    one = waiting(tmp_path, "time.sleep(600)")
    with Children([one]) as children:
        children.start()
        until_up(links, one)
        time.sleep(0.2)
        assert "began" not in one.log.read_text()
        children.begin()
        links.until(lambda: "began" in one.log.read_text() or time.sleep(0.01))
        os.kill(running()["w0"][0], signal.SIGKILL)
        the_end(links, children)
        links.until(lambda: children.exits() or one.log.read_text().count("began") == 2 or time.sleep(0.01))


def test_a_process_that_waits_for_a_message_that_never_comes_ends_with_the_launcher(tmp_path):
    command = [sys.executable, "-c", WAITING.format(then="")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "up\n", "dptrain: the launcher has gone\n")


def test_at_the_end_a_worker_that_ends_by_itself_is_not_sent_a_signal(tmp_path, links, monkeypatch):
    monkeypatch.setattr("dptrain.processes.children.OWN_END", 60.0)  # the worker may have to wait for a CPU
    one = waiting(tmp_path, "time.sleep(0.2); print('by itself')")
    with Children([one]) as children:
        children.start()
        children.begin()
        links.until(lambda: (one.log.exists() and "began" in one.log.read_text()) or time.sleep(0.01))
        children.stop(grace=60.0)
    assert one.log.read_text().splitlines()[-1] == "by itself"


def test_after_a_second_ctrl_c_no_process_is_waited_for(spec, links, monkeypatch):
    monkeypatch.setattr("dptrain.processes.children.GRACE", 300.0)
    stubborn, start = spec(STUBBORN), []

    def interrupt_twice():
        with Children([stubborn]) as children:
            children.start()
            until_up(links, stubborn)
            start.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert time.monotonic() - start[0] < 60
    assert running() == {}


PARENT = """
import sys, time
from pathlib import Path
from dptrain.processes.children import Children, ChildSpec
code = (
    "import sys, time; from dptrain.processes.stopping import die_with; die_with(int(sys.argv[2]));"
    "import os; print('up', os.getpid(), flush=True); time.sleep(600)"
)
log = Path(sys.argv[1])
children = Children([ChildSpec("w0", (sys.executable, "-c", code), log, True)])
children.start()
time.sleep(600)
"""


def test_a_child_dies_with_its_parent_even_when_that_is_killed(tmp_path, links):
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", PARENT, log]) as parent:
        links.until(lambda: (log.exists() and log.read_text().endswith("\n")) or time.sleep(0.01))
        child = int(log.read_text().split()[1])
        assert alive(child)
        parent.kill()
    links.until(lambda: not alive(child) or time.sleep(0.01))


def test_a_child_whose_parent_has_gone_already_does_not_start(tmp_path):
    code = "import sys; from dptrain.processes.stopping import die_with; die_with(int(sys.argv[2]))"
    done = subprocess.run([sys.executable, "-c", code, LAUNCHER, "1"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "dptrain: the launcher has gone\n")
