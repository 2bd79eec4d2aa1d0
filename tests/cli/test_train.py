"""The commands a user runs in turn: train, stop, resume, eval, predict, verify; real processes, real files."""

import json
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dptrain.cli import main
from dptrain.data.catalog import open_dataset
from dptrain.recipefile import resolve
from dptrain.runs.directory import stored_config
from dptrain.runs.metrics import read
from dptrain.settings import values
from simulation.traces import TIMED

pytestmark = pytest.mark.system

#: 9 steps an epoch of a tiny network: a second or two once its kernels are compiled.
TINY = ["--dataset", "shapes32", "--validation", "500", "--augment", "crop:4,flip", "--filters", "4"]
TINY += ["--batch-size", "500", "--shard-size", "125", "--hash-every", "1", "--log-interval", "0.01"]
FLAGS = [*TINY, "--epochs", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """runs/whole, trained without a stop in one process, and what was printed."""
    folder = tmp_path_factory.mktemp("whole")
    command = [sys.executable, "-W", "error", "-m", "dptrain", "train", *FLAGS, "--name", "whole", "--workers", "0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "whole", done.stdout


def test_a_whole_run_leaves_everything_and_prints_plain_lines(whole):
    run, out = whole
    assert sorted(p.name for p in run.iterdir()) == [
        "checkpoints",
        "config.toml",
        "hashes.jsonl",
        "lock",
        "logs",
        "metrics.jsonl",
        "run.json",
        "summary.csv",
        "term",
    ]
    assert (run.parent / "latest").resolve() == run
    assert values(stored_config(run)) == values(resolve(flags={**_as_fields(FLAGS), "name": "whole", "workers": "0"}))
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["data"]["name"] == "shapes32"
    assert manifest["starts"][0]["versions"]["numpy"] == np.__version__
    assert "\r" not in out
    assert "\x1b" not in out
    assert len([line for line in out.splitlines() if " eta " in line]) > 5
    assert re.search(r"^test accuracy 0\.\d{4} ", out, re.M)
    assert out.endswith("predict: dptrain predict runs/whole IMAGE...\n")
    kinds = [record["kind"] for record in read(run / "metrics.jsonl")]
    assert kinds == (["step"] * 9 + ["epoch", "eval"]) * 2 + ["eval"]
    assert [record["step"] for record in read(run / "hashes.jsonl")] == list(range(1, 19))


def test_eval_scores_what_the_run_scored_and_predict_reads_a_picture_of_the_set(whole, tmp_path, capsys):
    run, out = whole
    assert main(["eval", str(run), "--json", "--per-class"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"test accuracy {found['acc']:.4f}  loss {found['loss']:.4f}" in out
    assert sum(row["hits"] for row in found["classes"]) == found["acc"] * found["samples"]
    assert main(["eval", str(run), "--split", "validation"]) == 0
    best = max(record["val/acc"] for record in read(run / "metrics.jsonl") if "val/acc" in record)
    assert capsys.readouterr().out.startswith("validation  loss ")
    picture = tmp_path / "picture.png"
    Image.fromarray(open_dataset("shapes32", "").test_images[0]).save(picture)
    assert main(["predict", str(run), str(picture), "--json", "--topk", "10"]) == 0
    top = json.loads(capsys.readouterr().out)["top"]
    assert sum(row["probability"] for row in top) == pytest.approx(1, abs=1e-4)
    assert 0 < best <= 1


def test_stopped_and_resumed_with_other_workers_it_is_the_same_run(whole, tmp_path, monkeypatch, capsys):
    run, _ = whole
    monkeypatch.chdir(tmp_path)
    assert main(["train", *FLAGS, "--name", "again", "--workers", "1", "--max-steps", "4"]) == 0
    out, err = capsys.readouterr()
    assert "stopped at step 4 of 18" in out
    assert "no run" not in err
    flags = ["--workers", "2", "--augmenters", "1", "--log-format", "json"]
    assert main(["train", "--name", "again", "--resume", "auto", *flags]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["event"] == "finished"
    assert main(["verify", str(run), "runs/again"]) == 0
    assert capsys.readouterr().out == "identical over 18 common steps (1 to 18)\n"
    assert _without_timings(tmp_path / "runs" / "again") == _without_timings(run)
    assert (tmp_path / "runs" / "again" / "term").read_text() == "2\n"
    assert main(["train", "--name", "again", "--resume", "auto"]) == 0
    assert "the run is complete: nothing was left to do" in capsys.readouterr().out
    assert _without_timings(tmp_path / "runs" / "again") == _without_timings(run)


def test_resuming_a_run_that_does_not_exist_starts_it_and_says_so(tmp_path, dptrain):
    start = [*FLAGS, "--workers", "0", "--max-steps", "1", "--resume", "auto"]
    note = "dptrain: note: no run runs/typo yet: starting it\n"
    assert note in dptrain("train", *start, "--name", "typo", timeout=110).err
    assert note not in dptrain("train", *start, "--name", "typo", timeout=110).err
    assert dptrain("train", *start, "--name", "still", "--quiet", timeout=110).err == ""


def test_a_quiet_run_prints_nothing_and_its_files_have_the_first_accuracy_and_the_bytes_of_a_step(
    whole, tmp_path, dptrain
):
    flags = [*TINY, "--epochs", "2", "--name", "still", "--workers", "2"]
    assert dptrain("train", *flags, "--quiet", "--eval-first", timeout=110) == (0, "", "")
    run = tmp_path / "runs" / "still"
    records = read(run / "metrics.jsonl")
    assert (records[0]["kind"], records[0]["step"], records[0]["best"]) == ("eval", 0, False)
    assert 0 < records[0]["val/acc"] < 0.4
    assert [r for r in _without_timings(run) if r["step"]] == _without_timings(whole[0])
    vector = 4 * int(json.loads((run / "run.json").read_text())["model"].split()[1].replace(",", ""))
    steps = [record for record in records if record["kind"] == "step"]
    # To two workers, for each step and each scoring; the next weights are sent before a step is reported.
    scorings = sum(record["kind"] == "eval" for record in records)
    sent = sum(record["traffic/sent_bytes"] for record in steps) / vector
    assert 2 * len(steps) < sent < 2.5 * (len(steps) + scorings)
    # Sums of four shards at most; and, on a machine that is busy, now and then one that came late or twice.
    received = [record["traffic/received_bytes"] / vector for record in steps]
    assert min(received) > 1
    assert sum(received) < 4.5 * len(steps)
    assert (run / "summary.csv").read_text().splitlines()[1].startswith("0,0,")


def test_a_quiet_run_still_prints_its_errors(tmp_path, dptrain):
    found = dptrain(
        "train", *TINY, "--quiet", "--max-steps", "1", "--lr", "100", "--networks", "gone.py", "--network", "gone:net"
    )
    assert (found.code, found.out) == (78, "")
    assert found.err.startswith("dptrain: error: --networks gone.py: cannot be read")
    found = dptrain("train", "--quiet", "--log-format", "json")
    assert (found.code, found.err) == (78, "dptrain: error: --quiet and --log-format json: give one of them\n")


def test_another_seed_is_another_run_and_verify_says_from_which_step_on(whole, tmp_path, monkeypatch, capsys):
    run, _ = whole
    monkeypatch.chdir(tmp_path)
    assert main(["train", *FLAGS, "--name", "other", "--workers", "0", "--max-steps", "2", "--seed", "1"]) == 0
    capsys.readouterr()
    assert main(["verify", str(run), "runs/other"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("different from step 1 on: first tensor model.conv1.weight (")
    assert second == "the configurations differ: seed: 0 -> 1"


def test_sigterm_leaves_a_checkpoint_and_says_how_to_continue_and_other_processes_are_locked_out(tmp_path, dptrain):
    command = [sys.executable, "-m", "dptrain", "train", *TINY, "--epochs", "500", "--name", "a", "--workers", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        begun = any("images/s" in line for line in process.stdout)
        assert begun, process.stderr.read()
        second = dptrain("train", "--resume", "runs/a")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert second.code == 78
    assert second.err.startswith(f"dptrain: error: run directory runs/a is in use by pid {process.pid} on ")
    assert process.returncode == 143
    assert out.endswith("continue: dptrain train --resume runs/a\n")
    assert (tmp_path / "runs" / "a" / "checkpoints" / "last.safetensors").is_file()
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_one_line_and_no_run_directory_stays(tmp_path, dptrain):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        done = dptrain("train", *FLAGS, "--workers", "1", "--bind", f"tcp://127.0.0.1:{port}")
    assert done.code == 78
    errors = [line for line in done.err.splitlines() if not line.startswith("compiling kernels")]
    assert len(errors) == 1
    assert errors[0].startswith("dptrain: error: ")
    assert str(port) in errors[0]
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_coordinator_or_worker_that_cannot_begin_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (["coordinator", "--bind", "tcp://0.0.0.0:0"], "--insecure"),
        (["worker", "--connect", "host"], "--connect 'host' is not an address"),
        (["augmenter", "--bind", "tcp://0.0.0.0:1", "--connect", "tcp://127.0.0.1:1"], "--insecure"),
    ):
        assert main(arguments) == 78
        err = capsys.readouterr().err
        assert err.startswith("dptrain: error: ")
        assert err.count("\n") == 1
        assert message in err
    runs = tmp_path / "runs"
    assert not runs.exists() or list(runs.iterdir()) == []


def _as_fields(flags):
    return {
        flag.removeprefix("--").replace("-", "_"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)
    }


def _without_timings(run):
    return [{k: v for k, v in record.items() if k not in TIMED} for record in read(run / "metrics.jsonl")]
