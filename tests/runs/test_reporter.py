"""The live display of a run: its height for any width, and the state of each worker."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from dptrain.cluster.events import Notice, RunStarted, StepDone, WorkerAdmitted, WorkerLost, WorkerSilent
from dptrain.runs.live import _block
from dptrain.runs.progress import Progress
from dptrain.runs.recorder import event_line
from dptrain.runs.reporter import Banner, LiveReporter, PlainReporter
from dptrain.settings import DeploymentConfig

NAMES = ("w0", "w1", "a-host-with-a-long-name.example.org:12345")


def console(width):
    screen = {"file": io.StringIO(), "force_terminal": True, "height": 30, "_environ": {"TERM": "xterm"}}
    return Console(width=width, highlight=False, **screen)


def step(number, *names):
    return StepDone(number, 0, 0.5, 16, 32, 0.1, "", (), tuple((name, 0.01) for name in names))


def tell(reporter, report, progress, who="worker"):
    reporter.tell(report, event_line(report, who), progress, 1.0)


@pytest.fixture
def progress():
    """Of a run of 12,345 steps at its second one, of which w0 has computed both and w1 the first."""
    progress = Progress(0.0)
    reports = [RunStarted(0, 12345, 4115, 1), *(WorkerAdmitted(name, 1234567, "avx512", 1) for name in NAMES)]
    for at, report in enumerate([*reports, step(1, "w0", "w1"), step(2, "w0")]):
        progress.update(report, at / 100)
    return progress


def shown(progress, width):
    return ["".join(part.text for part in line) for line in console(width).render_lines(_block(progress, 1.0, width))]


@pytest.mark.parametrize("width", [40, 60, 79, 80, 100, 110, 120, 200])
def test_the_live_display_has_the_same_height_at_any_width(progress, width):
    lines = shown(progress, width)
    assert len(lines) == 2 + len(NAMES)
    assert "loss 0.5" in lines[0] or width < 60
    assert ("3,200/s" in lines[0] or "3,200 images/s" in lines[0]) == (width >= 79)
    assert ("lr 0.1" in lines[0]) == (width >= 100)
    assert ("━" in lines[0]) == (width >= 80)


def test_before_the_run_begins_there_is_no_empty_block(facts):
    screen = console(80)
    reporter = LiveReporter(screen)
    reporter.banner(Banner(facts, "runs/a", 1, threads=2, isa="avx2"))
    tell(reporter, Notice("warning", "4 of 6 workers will have nothing to do"), Progress(0.0))
    reporter.waiting("compiling kernels: 2 s, 12 so far")
    reporter.close()
    assert "4 of 6 workers" in screen.file.getvalue()
    assert "2 s, 12 so far" in screen.file.getvalue()
    assert "eta" not in screen.file.getvalue()


def test_before_the_first_step_the_live_display_is_as_high_as_later():
    assert len(shown(Progress(0.0), 80)) == 2


def test_a_worker_without_work_is_idle_and_only_one_without_a_sign_of_life_is_reported_as_silent(progress):
    for number in range(3, 50):
        progress.update(step(number, "w0"), number / 100)
    progress.update(WorkerSilent("w1", 5.0, "shard 3 of step 50"), 0.5)
    states = [line.split(" ms  ")[1].strip() for line in shown(progress, 120)[2:]]
    assert states == ["busy 100%", "silent", "idle"]
    progress.update(step(50, "w1"), 0.51)
    assert shown(progress, 120)[3].rstrip().endswith("%")


@pytest.mark.parametrize("kind", [LiveReporter, PlainReporter])
def test_the_threads_of_one_process_are_not_called_workers(kind, facts, progress, capsys):
    screen = console(120)
    reporter = LiveReporter(screen) if kind is LiveReporter else PlainReporter(1e9)
    alone = replace(facts, config=replace(facts.config, deployment=DeploymentConfig(workers=0)))
    reporter.banner(Banner(alone, "runs/a", 1, threads=2, isa="avx2"))
    tell(reporter, WorkerAdmitted("t0", 11, "avx2", 1), progress, who="thread")
    tell(reporter, WorkerLost("t1", "ended", (), 1), progress, who="thread")
    reporter.close()
    out = screen.file.getvalue() + capsys.readouterr().out
    assert "1 process, 2 threads" in out
    assert "admitted" not in out
    assert "worker" not in out
    assert "thread t1 lost: ended; 1 thread now" in out
