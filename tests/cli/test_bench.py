"""`dptrain bench` measures steps, passes of the engine and whole trainings."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dptrain.cli import main
from waiting import until

#: Images of 32x32x3, as of the other tests that train with 4 or 8 filters: compiling takes longer than all these steps.
SMALL = ["bench", "--n", "1", "--image", "32", "--channels", "3", "--batch-size", "8", "--shard-size", "4"]
TINY = [*SMALL, "--filters", "4"]


def test_a_bench_prints_median_and_spread_of_as_many_steps_as_asked_for(capsys):
    assert main([*TINY, "--steps", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    speed = found["images_per_s"]["dptrain"]
    assert speed["steps"] == 7
    assert 0 < speed["low"] <= speed["median"] <= speed["high"]
    assert "ResNet-8, 4 filters" in found["model"]["text"]
    assert "batch 8 = 2 x 4" in found["model"]["text"]


def test_depth_replaces_the_default_of_n(capsys):
    without_n = [*TINY[:1], *TINY[3:]]
    assert main([*without_n, "--depth", "8", "--steps", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["n"] == 1
    assert main([*TINY, "--depth", "8"]) == 78
    assert "depth and n set the same thing: give one of them" in capsys.readouterr().err


def test_layers_say_how_their_products_are_made(capsys):
    assert main([*SMALL, "--filters", "8", "--layers", "--steps", "5", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["layers"]
    named = [line["name"].split() for line in lines]
    chain = [
        (line, words) for line, words in zip(lines, named, strict=True) if not words[1].startswith(("means", "layers"))
    ]
    assert {words[-1] for _, words in chain} == {"direct", "f2", "f4"}
    assert {words[-1] for _, words in chain if words[1] == "conv1"} == {"direct"}
    assert all(line["floor"] > 0 for line, _ in chain)


def test_inference_is_measured_instead_of_training_where_it_is_asked_for(capsys):
    assert main([*TINY, "--inference", "--steps", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["machine", "versions", "model", "dptrain"]
    assert "inference, fp32, 1 thread, median" in lines[-1]


def test_layers_that_the_engine_does_not_fuse_are_measured_too(capsys):
    assert main([*TINY, "--layers", "--steps", "5", "--json"]) == 0
    lines = {line["name"]: line for line in json.loads(capsys.readouterr().out)["layers"]}
    assert lines["forward  layers conv1: 32x32x3 -> 32x32x4"]["floor"] == 0
    assert lines["forward  apply bn1, ReLU: 32x32x4 -> 32x32x4"]["floor"] > 0


def test_two_measurements_at_once_are_refused(capsys):
    assert main([*TINY, "--layers", "--workers", "1,2"]) == 78
    assert "choose one" in capsys.readouterr().err
    assert main([*TINY, "--workers", "1,x"]) == 78
    assert "--workers 1,x: must be whole numbers from 1 to 1024" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--augment", "flip"], "--augment has an effect on whole trainings only"),
        (["--workers", "1", "--image", "28"], "with --workers, the --dataset determines them"),
        (["--steps", "4"], "--steps 4: must be a whole number from 5 to 100000"),
    ],
)
def test_flags_that_would_change_nothing_are_refused(flags, words, capsys):
    assert main(["bench", *flags]) == 78
    assert words in capsys.readouterr().err


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_whole_trainings_are_measured_with_each_number_of_workers(tmp_path, capsys):
    small = ["--n", "1", "--filters", "4", "--dataset", "fashion-mini", "--data-dir", str(tmp_path)]
    assert main(["bench", *small, "--workers", "1,2", "--steps", "5", "--json"]) == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert [(job["side"], job["workers"]) for job in jobs] == [("dptrain", 1), ("dptrain", 2)]
    for job in jobs:
        assert job["coordinator_ms"] > 0
        assert 0 < job["low"] <= job["images"] <= job["high"]
        assert len(job["runs"]) == 3


def test_sigterm_ends_the_training_that_is_measured_too_and_its_folder_goes(tmp_path):
    command = [sys.executable, "-m", "dptrain", "bench", "--workers", "1", "--n", "1", "--filters", "8"]
    with subprocess.Popen([*command, "--steps", "5000"], env=os.environ | {"TMPDIR": str(tmp_path)}) as bench:
        until(lambda: time.sleep(0.05) or [*tmp_path.glob("dptrain-bench-*/bench/metrics.jsonl")], seconds=240)
        [folder] = tmp_path.glob("dptrain-bench-*")
        bench.terminate()
        assert bench.wait(20) == 143
    assert not folder.exists()
    until(lambda: time.sleep(0.05) or not _who_names(folder))


def _who_names(folder: Path) -> list[str]:
    """Processes with the folder in their command lines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found
