"""Reports in, files and lines out; a run that is stopped and resumed leaves the files of one that is not."""

import io
import json
import re
import resource
import threading
from dataclasses import replace

import pytest
from rich.console import Console

from dptrain.cluster.events import (
    EpochDone,
    Evaluated,
    Notice,
    RunStarted,
    StepDone,
    TakenBack,
    WorkerAdmitted,
    WorkerLost,
)
from dptrain.errors import RunDirectoryError
from dptrain.runs import directory
from dptrain.runs.checkpoint import load
from dptrain.runs.metrics import read
from dptrain.runs.recorder import Recorder
from dptrain.runs.reporter import Banner, JsonReporter, LiveReporter, PlainReporter, choose
from dptrain.runs.shelf import Shelf
from dptrain.settings import DeploymentConfig
from simulation.traces import TIMED

STEPS, EPOCH = 6, 3
MEGABYTES = (5_000_000, 3_000_000)  #: sent and received per step


class Clock:
    """Each look at it is `tick` seconds after the one before."""

    def __init__(self, tick=0.5):
        self.now, self.tick = 100.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


@pytest.fixture
def start(tmp_path, facts):
    def start(name="a", step=0, reporter=None, clock=None, **deployment):
        path = tmp_path / name
        run = directory.reopen(path, {}) if path.exists() else directory.create(tmp_path, name, "", {"starts": []})
        mine = replace(facts, config=replace(facts.config, deployment=DeploymentConfig(keep=1, **deployment)))
        return Recorder(run, mine, reporter or PlainReporter(1e9), step, clock or Clock()), run

    return start


def step_report(step):
    hashes = (f"{step:064x}", (("model.w", f"{step:016x}"),)) if step % 2 == 0 else ("", ())
    return StepDone(
        step, (step - 1) // EPOCH, 1 / step, step, 32, 0.1, *hashes, (("w0", 0.25), ("w1", 0.125)), MEGABYTES, 0.0025
    )


def play(recorder, make_state, first, last):
    """Steps first .. last of a run, as the coordinator reports them."""
    recorder.tell(RunStarted(first - 1, STEPS, EPOCH, 1))
    recorder.tell(WorkerAdmitted("w0", 11, "avx2", 1))
    for step in range(first, last + 1):
        recorder.tell(step_report(step))
        if step % EPOCH == 0:
            recorder.tell(EpochDone(step // EPOCH, step, 0.5, 0.25, 0.1))
            recorder.tell(Evaluated(step, step // EPOCH, "validation", 0.7, 0.75, 1.0, 600, step == 3))
            recorder.checkpoint(make_state(step), best=step == 3)
            settle(recorder, 1)  # else the older one may never be written
    if last == STEPS:
        recorder.tell(Evaluated(3, 1, "test", 0.6, 0.8, 1.0, 1000, best=False))
        recorder.checkpoint(make_state(last), best=False)


def full(*_, **__):
    raise OSError(28, "No space left on device")


def settle(recorder, attempts):
    """Waits until the writer has tried so often since it was last asked."""
    writer = recorder._writer
    with writer._condition:
        assert writer._condition.wait_for(lambda: len(writer._outcomes) >= attempts, 20)


def without_timings(path):
    return [{k: v for k, v in record.items() if k not in TIMED} for record in read(path)]


def test_a_whole_run_leaves_its_files(start, make_state, capsys):
    recorder, run = start()
    play(recorder, make_state, 1, STEPS)
    recorder.close()
    run.close()
    names = sorted(p.name for p in run.checkpoints.iterdir())
    assert names == ["best.safetensors", "last.safetensors", "step-00000006.safetensors"]
    assert load(run.checkpoints / "best.safetensors").step == 3
    metrics = read(run.path / "metrics.jsonl")
    assert [r["kind"] for r in metrics] == ["step"] * 3 + ["epoch", "eval"] + ["step"] * 3 + ["epoch", "eval", "eval"]
    assert metrics[0] | {"time/step_s": 0, "throughput/samples_per_s": 0} == {
        "kind": "step",
        "step": 1,
        "epoch": 0,
        "train/loss": 1.0,
        "train/acc": 1 / 32,
        "lr": 0.1,
        "time/step_s": 0,
        "time/coordinator_s": 0.0025,
        "throughput/samples_per_s": 0,
        "traffic/sent_bytes": 5_000_000,
        "traffic/received_bytes": 3_000_000,
    }
    assert metrics[0]["throughput/samples_per_s"] == 32 / metrics[0]["time/step_s"]
    assert (run.path / "summary.csv").read_text().count("\n") == 3
    assert "worker w0 admitted (pid 11, avx2); 1 worker now" in (run.logs / "coordinator.log").read_text()
    out = capsys.readouterr().out
    assert "traffic 5.00 MB sent, 3.00 MB received per step\n" in out
    assert "test accuracy 0.8000  loss 0.6000  error 20.00 %  (1,000 images)" in out
    assert f"dptrain predict {run.path} IMAGE" in out


@pytest.mark.parametrize("disk", ["sound", "full for a while"])
def test_a_step_taken_back_leaves_no_trace_where_the_disk_allows(start, make_state, monkeypatch, disk):
    whole, run = start("whole")
    play(whole, make_state, 1, STEPS)
    whole.close()
    run.close()
    recorder, again = start("again")
    play(recorder, make_state, 1, 3)
    recorder.checkpoint(make_state(4), best=False)
    settle(recorder, 1)
    assert Shelf(again.checkpoints, 1).newest_valid()[0].step == 4
    for report in (replace(step_report(4), state_sha256="f" * 64), TakenBack(3)):
        if isinstance(report, TakenBack) and disk != "sound":
            monkeypatch.setattr("dptrain.runs.recorder.write_atomically", full)
        recorder.tell(report)
        monkeypatch.undo()
    recorder.checkpoint(make_state(3), best=False)
    settle(recorder, 1)
    assert Shelf(again.checkpoints, 1).newest_valid()[0].step == 3
    for report in [step_report(4), step_report(5), step_report(6)]:
        recorder.tell(report)
    recorder.tell(EpochDone(2, 6, 0.5, 0.25, 0.1))
    recorder.tell(Evaluated(6, 2, "validation", 0.7, 0.75, 1.0, 600, best=False))
    recorder.checkpoint(make_state(6), best=False)
    settle(recorder, 1)
    recorder.tell(Evaluated(3, 1, "test", 0.6, 0.8, 1.0, 1000, best=False))
    recorder.checkpoint(make_state(6), best=False)
    recorder.close()
    again.close()
    for name in ("metrics.jsonl", "hashes.jsonl"):
        expected, got = without_timings(run.path / name), without_timings(again.path / name)
        if disk != "sound":  # some stand there twice
            got = list({(r["kind"], r["step"], "test/acc" in r): r for r in got}.values())
        assert sorted(map(str, got)) == sorted(map(str, expected))


def test_hashes_are_written_at_hashed_steps_and_at_checkpoints_once(start, make_state):
    recorder, run = start()
    play(recorder, make_state, 1, STEPS)
    recorder.close()
    hashes = read(run.path / "hashes.jsonl")
    assert [r["step"] for r in hashes] == [2, 3, 4, 6]
    assert hashes[1]["sha256"] == make_state(3).sha256()
    assert hashes[1]["tensors"] == dict(make_state(3).tensor_hashes())
    assert hashes[0]["tensors"] == {"model.w": f"{2:016x}"}


def test_a_resumed_run_leaves_the_files_of_an_uninterrupted_one(start, make_state):
    whole, ref = start("ref")
    play(whole, make_state, 1, STEPS)
    whole.close()
    first, run = start("comp")
    play(first, make_state, 1, 5)  # killed after step 5; the checkpoint is of step 3
    first.abort()
    run.close()
    second, comp = start("comp", step=3, clock=Clock(0.7))
    play(second, make_state, 4, STEPS)
    second.close()
    for name in ("metrics.jsonl", "hashes.jsonl"):
        assert without_timings(comp.path / name) == without_timings(ref.path / name)

    def rows(run):  # the last column is a time
        return [line.rpartition(",")[0] for line in (run.path / "summary.csv").read_text().splitlines()]

    assert rows(comp) == rows(ref)


def test_a_full_disk_is_reported_and_does_not_stop_the_training_and_its_end_is_reported_too(
    start, make_state, monkeypatch, capsys
):
    recorder, run = start()
    recorder.checkpoint(make_state(1), best=False)
    settle(recorder, 1)
    with monkeypatch.context() as patch:
        patch.setattr("dptrain.runs.shelf.write_atomically", full)
        recorder.checkpoint(make_state(2), best=False)
        settle(recorder, 1)
        recorder.tell(step_report(3))
        assert "warning: checkpoint of step 2" in capsys.readouterr().out
        assert load(run.checkpoints / "last.safetensors").step == 1
    recorder.checkpoint(make_state(4), best=False)
    settle(recorder, 1)
    recorder.tell(step_report(5))
    assert "checkpoints: can be written again" in capsys.readouterr().out
    assert load(run.checkpoints / "last.safetensors").step == 4
    recorder.close()


def test_a_disk_that_is_full_to_the_end_is_an_error(start, make_state, monkeypatch):
    recorder, run = start()
    recorder.checkpoint(make_state(1), best=False)
    settle(recorder, 1)
    monkeypatch.setattr("dptrain.runs.shelf.write_atomically", full)
    recorder.checkpoint(make_state(2), best=False)
    with pytest.raises(RunDirectoryError, match=r"end of the run is not saved: checkpoint of step 2 .*No space left"):
        recorder.close()
    assert load(run.checkpoints / "last.safetensors").step == 1


def test_a_file_size_limit_of_the_system_leaves_the_older_checkpoint_whole(start, make_state, capsys):
    """A real OSError out of write(2)."""
    recorder, run = start()
    recorder.checkpoint(make_state(1), best=False)
    settle(recorder, 1)
    size = (run.checkpoints / "last.safetensors").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
    try:
        recorder.checkpoint(make_state(2), best=False)
        settle(recorder, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    recorder.tell(step_report(3))
    assert "File too large; training goes on, the older checkpoint stays" in capsys.readouterr().out
    assert load(run.checkpoints / "last.safetensors").step == 1
    recorder.close()
    assert load(run.checkpoints / "last.safetensors").step == 2


def test_a_coordinator_that_was_succeeded_writes_no_checkpoint_and_ends(start, make_state):
    recorder, run = start()
    (run.path / "term").write_text("2\n")
    recorder.checkpoint(make_state(1), best=False)
    settle(recorder, 1)
    with pytest.raises(
        RunDirectoryError, match=r"has been taken over by another coordinator \(term 2, this one is 1\)"
    ):
        recorder.tell(step_report(2))
    assert list(run.checkpoints.iterdir()) == []
    recorder.abort()


def test_a_checkpoint_holds_the_state_as_it_was_however_training_goes_on(start, make_state, monkeypatch):
    recorder, run = start()
    gate = threading.Event()
    write = Shelf.put

    def slow(*arguments, **more):
        gate.wait(10)
        return write(*arguments, **more)

    monkeypatch.setattr(Shelf, "put", slow)
    state = make_state(1)
    wanted = state.sha256()
    recorder.checkpoint(state, best=False)
    for array in (state.params, state.buffers, state.optimizer["velocity"]):
        array += 1
    state.step = 2
    gate.set()
    recorder.close()
    found = load(run.checkpoints / "last.safetensors")
    assert found.state(state.params_layout, state.buffers_layout).sha256() == wanted


def test_plain_lines_have_no_control_characters_and_come_once_per_interval(start, make_state, capsys, facts):
    reporter = PlainReporter(1.5)
    recorder, _ = start(reporter=reporter, clock=Clock(0.5))
    reporter.banner(Banner(facts, "runs/a", 1, threads=1, isa="avx2"))
    play(recorder, make_state, 1, STEPS)
    recorder.tell(WorkerLost("w0", "exited with signal 9", (1, 3), 0))
    recorder.tell(Notice("warning", "no worker"))
    recorder.close()
    out = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out)
    lines = out.splitlines()
    assert lines[0] == "data    fashion-mini  5,400 train / 600 validation / 1,000 test  28x28x1  2 classes"
    assert "batch   128 = 4 shards x 32" in lines[2]
    assert facts.identity[:12] in lines[4]
    progress = [line for line in lines if "images/s" in line]
    assert len(progress) == 2
    assert re.fullmatch(
        r"epoch 1/2  \[2/3\]  loss 0\.7500  acc 0\.047  lr 0\.1  64 images/s  "
        r"elapsed 0:00:02  eta 0:00:00 epoch, 0:00:02 run",
        progress[0],
    )
    assert "worker w0 lost: exited with signal 9; shards 1, 3 go to another; 0 workers now" in lines
    assert "warning: no worker" in lines


def test_json_lines_are_objects_with_the_same_head(start, make_state, capsys):
    recorder, _ = start(reporter=JsonReporter(0.0, "a"))
    play(recorder, make_state, 1, STEPS)
    recorder.close()
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"ts", "level", "role", "host", "run", "event"} <= set.intersection(*(set(o) for o in objects))
    assert [o["event"] for o in objects[:3]] == ["run_started", "worker_admitted", "progress"]
    assert objects[-1]["event"] == "finished"
    assert objects[-1]["test/acc"] == 0.8


def test_a_stopped_run_says_how_to_continue_and_a_diverged_one_does_not(start, make_state, capsys):
    recorder, run = start()
    recorder.tell(Notice("error", "worker w7 is refused: it has another data set"))  # which is not the run's end
    play(recorder, make_state, 1, 4)
    recorder.close()
    assert (
        f"stopped at step 4 of 6 after 0:00:05\ncontinue: dptrain train --resume {run.path}\n"
        in capsys.readouterr().out
    )
    recorder, run = start("b")
    play(recorder, make_state, 1, 2)
    recorder.tell(Notice("error", "step 3: conv1.weight is not finite", final=True))
    recorder.close(failed=True)
    assert capsys.readouterr().out.endswith(f"stopped at step 2 of 6 after 0:00:03\nrun directory {run.path}\n")
    assert recorder.failure == "step 3: conv1.weight is not finite"  # for stderr, once
    assert f"error: {recorder.failure}\n" in (run.logs / "coordinator.log").read_text()


def test_a_run_that_was_led_for_workers_from_elsewhere_says_so_and_is_continued_like_that(
    start, make_state, capsys, facts
):
    deployment = {"workers": 0, "bind": "tcp://127.0.0.1:5599", "keys": "my keys/coordinator"}
    recorder, run = start(**deployment)
    play(recorder, make_state, 1, 4)
    recorder.close()
    command = f"dptrain coordinator --resume {run.path} --bind tcp://127.0.0.1:5599 --keys 'my keys/coordinator'"
    assert capsys.readouterr().out.endswith(f"continue: {command}\n")
    led = replace(facts, config=replace(facts.config, deployment=DeploymentConfig(**deployment)))
    line = Banner(led, "runs/a", 1, threads=2, isa="avx2").lines()[3]
    assert line == "run     coordinator only, workers connect from elsewhere  isa avx2  tcp://127.0.0.1:5599"


def test_the_live_display_shows_bars_figures_and_one_row_per_worker_and_restores_the_terminal(start, make_state, facts):
    terminal = io.StringIO()
    screen = {"file": terminal, "force_terminal": True, "width": 120, "height": 30, "_environ": {"TERM": "xterm"}}
    reporter = LiveReporter(Console(**screen, highlight=False))
    recorder, _ = start(reporter=reporter)
    reporter.banner(Banner(facts, "runs/a", 1, threads=1, isa="avx2"))
    play(recorder, make_state, 1, STEPS)
    recorder.close()
    shown = terminal.getvalue()
    for text in ("epoch 1/2", "images/s", "w0", "pid 11", "eta", "test accuracy 0.8000", "best so far"):
        assert text in shown
    assert "nan" not in shown  # before the first step there is no loss
    assert shown.rstrip().splitlines()[-1].startswith("predict: dptrain predict")
    assert shown.count("\x1b[?25h") == shown.count("\x1b[?25l")  # the cursor is shown again


@pytest.mark.parametrize(
    ("log_format", "environ", "kind"),
    [("auto", {}, PlainReporter), ("json", {}, JsonReporter), ("plain", {}, PlainReporter), ("rich", {}, LiveReporter)],
)
def test_off_a_terminal_auto_means_plain(log_format, environ, kind, capsys):
    assert isinstance(choose(log_format, 10.0, "a"), kind)


@pytest.mark.parametrize(
    ("environ", "kind"), [({}, LiveReporter), ({"NO_COLOR": "1"}, PlainReporter), ({"TERM": "dumb"}, PlainReporter)]
)
def test_on_a_terminal_auto_means_live_unless_it_is_dumb(environ, kind, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert isinstance(choose("auto", 10.0, "a"), kind)
