"""`dptrain status`: what it says of a run that has not begun, runs, is stuck, was stopped, is finished."""

import fcntl
import json
import os
from contextlib import suppress

import pytest

from dptrain.cli import main
from dptrain.recipefile import to_toml
from dptrain.runs import condition as looking
from dptrain.runs.directory import create
from dptrain.settings import Config, DeploymentConfig

STEP = {"kind": "step", "epoch": 1, "train/loss": 0.5, "train/acc": 0.75, "lr": 0.1, "time/step_s": 0.1}


@pytest.fixture
def run(tmp_path):
    """A run directory that is locked by this process, without a step."""
    place = create(tmp_path / "runs", "first", "", {"identity": "ab" * 32, "starts": [{"term": 1, "time": "today"}]})
    (place.logs / "coordinator.log").write_text("now listening on tcp://x\nnow term 1: step 0 of 1000\n")
    (tmp_path / "runs" / "latest").symlink_to("first")
    yield place
    with suppress(OSError):  # closed by the test
        place.close()


def write(run, *records):
    text = "".join(json.dumps(record) + "\n" for record in records)
    (run.path / "metrics.jsonl").write_text(text)


def said(capsys, *words):
    assert main(["status", *map(str, words)]) == 0
    return {line[:12].strip(): line[12:] for line in capsys.readouterr().out.splitlines()}


def test_the_status_of_a_run_that_has_not_begun_names_the_run_and_its_process(run, capsys):
    out = said(capsys, run.path)
    assert out["run"].startswith("first  identity abababababab  term 1")
    assert out["state"] == f"running, pid {os.getpid()} on {os.uname().nodename}"
    assert out["step"] == "none of 1000 yet"


def test_the_status_of_a_running_run_shows_its_step_and_its_images_per_second(run, capsys, monkeypatch):
    write(
        run, *({**STEP, "step": n, "throughput/samples_per_s": pace} for n, pace in ((1, None), (2, 100.0), (3, 50.0)))
    )
    monkeypatch.chdir(run.path.parents[1])
    assert said(capsys)["step"] == "3 of 1,000  epoch 2  loss 0.5000  acc 0.750  67 images/s"


def test_a_run_without_a_step_for_long_is_reported_as_such(run, capsys):
    write(run, {**STEP, "step": 1, "throughput/samples_per_s": 1.0})
    for file in ("metrics.jsonl", "run.json"):
        os.utime(run.path / file, (1e9, 1e9))
    assert "are there workers" in said(capsys, run.path)["state"]


def test_a_run_that_stopped_says_how_to_go_on_and_a_whole_one_that_it_is_finished(run, capsys):
    run.close()
    write(run, {**STEP, "step": 1, "throughput/samples_per_s": 1.0})
    assert said(capsys, run.path)["state"].endswith(f"dptrain train --resume {run.path}")
    write(run, {"kind": "eval", "step": 9, "epoch": 1, "test/loss": 0.1, "test/acc": 0.9, "best": True})
    out = said(capsys, run.path)
    assert out["state"] == "finished"
    assert out["evaluation"] == "step 9  test/loss 0.1000  test/acc 0.9000"


def test_a_run_that_waited_for_workers_from_elsewhere_goes_on_as_one(run, capsys):
    run.close()
    config = Config(deployment=DeploymentConfig(workers=0, bind="tcp://127.0.0.1:5599", keys="keys/coordinator"))
    (run.path / "config.toml").write_text(to_toml(config))
    command = f"dptrain coordinator --resume {run.path} --bind tcp://127.0.0.1:5599 --keys keys/coordinator"
    assert said(capsys, run.path)["state"] == f"not running; continue with: {command}"


def test_a_run_that_diverged_is_not_said_to_go_on_until_it_was_started_again(run, capsys):
    run.close()
    log = run.logs / "coordinator.log"
    text = log.read_text() + "now error: step 3: loss is not finite: the training has diverged; a lower lr may help\n"
    log.write_text(text)
    assert said(capsys, run.path)["state"].startswith("diverged, not running; the same bits would diverge again")
    log.write_text(text + "now term 2: step 0 of 1000\n")
    assert said(capsys, run.path)["state"].startswith("not running; continue with")


def test_status_takes_no_lock_so_that_a_start_meanwhile_succeeds(run):
    assert looking.is_locked(run.path / "lock")
    run.close()
    assert not looking.is_locked(run.path / "lock")
    with open(run.path / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert looking.is_locked(run.path / "lock")
    assert not looking.is_locked(run.path / "nothing")


def test_a_path_that_is_no_run_directory_is_refused(tmp_path, capsys, monkeypatch):
    assert main(["status", str(tmp_path)]) == 78
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 78
    assert "dptrain status runs/NAME" in capsys.readouterr().err
