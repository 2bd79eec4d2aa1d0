"""`dptrain bench` measures a whole step; what it says when the other side is not there."""

import contextlib
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

import dptrain.cli.bench  # noqa: F401
from dptrain.cli import main, torch_side
from dptrain.kernels import isa
from waiting import until

TINY = [
    "bench",
    "--n",
    "1",
    "--filters",
    "4",
    "--image",
    "8",
    "--channels",
    "1",
    "--batch-size",
    "8",
    "--shard-size",
    "4",
]


def _other_side(folder: Path, told: str) -> str:
    """A program that answers as torch_step.py does, with steps of exactly 2 s; its version is `told`, Python over
    the shape that it was sent.
    """
    fake = folder / "python"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "shape = json.loads(sys.stdin.readline())\n"
        f"print(json.dumps({{'torch': {told}, 'python': '3'}}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps([2.0] * int(line)), flush=True)\n"
    )
    fake.chmod(0o755)
    return str(fake)


def test_a_bench_prints_median_and_spread_of_as_many_steps_as_asked_for(capsys):
    assert main([*TINY, "--steps", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    speed = found["images_per_s"]["dptrain"]
    assert speed["steps"] == 7
    assert 0 < speed["low"] <= speed["median"] <= speed["high"]
    assert found["ratio"] == {}
    assert "ResNet-8, 4 filters" in found["model"]["text"]
    assert "batch 8 = 2 x 4" in found["model"]["text"]


def test_the_other_side_is_told_of_the_shortcut(tmp_path, capsys):
    fake = _other_side(tmp_path, "' '.join(str(shape[key]) for key in ('average', 'at_end', 'project'))")
    for shortcut, told in (("avgpool-end", "1 1 0"), ("C", "0 0 2")):
        assert main([*TINY, "--steps", "5", "--shortcut", shortcut, "--against", fake]) == 0
        out = capsys.readouterr().out
        assert f"torch {told}" in out
        assert f"shortcut {shortcut}," in out


def test_a_python_without_torch_is_told_as_such(tmp_path, capsys):
    fake = tmp_path / "python"
    fake.write_text(f"#!{sys.executable}\nimport torch_that_is_not_there\n")
    fake.chmod(0o755)
    assert main([*TINY, "--against", str(fake)]) == 78
    reason = "ModuleNotFoundError: No module named 'torch_that_is_not_there'"
    assert capsys.readouterr().err == f"dptrain: error: --against {fake}: {reason}\n"


@pytest.mark.skipif(find_spec("torch") is not None, reason="this Python has PyTorch")
@pytest.mark.parametrize("python", ["torch", sys.executable])
def test_a_python_without_torch_is_refused_before_anything_is_measured(python, capsys, monkeypatch):
    monkeypatch.delenv("DPTRAIN_TORCH", raising=False)
    assert main([*TINY, "--against", python]) == 78
    assert "this Python has no PyTorch: install it, or give the path" in capsys.readouterr().err


@pytest.fixture
def bf16(monkeypatch):
    """bf16(True): as on a CPU that multiplies bfloat16."""

    def have(found):
        flags = isa.cpu_flags() - {"avx512_bf16", "amx_bf16"} | ({"avx512_bf16"} if found else set())
        monkeypatch.setattr(isa, "cpu_flags", lambda: flags)

    return have


def test_the_other_sides_seconds_are_those_of_a_process_that_answers(tmp_path, capsys, bf16):
    bf16(False)
    fake = _other_side(tmp_path, "'9.9'")
    assert main([*TINY, "--steps", "5", "--against", fake]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "torch 9.9" in lines[1]
    assert lines[-2].endswith("4.0 images/s  training, fp32, 1 thread, median (quartiles 4.0 to 4.0, 5 steps)")
    ours = float(lines[-3].split()[1])
    assert lines[-1].startswith("ratio ")
    assert float(lines[-1].split()[1]) == pytest.approx(ours / 4.0, rel=0.5)  # a median of turns, not of steps
    assert "dptrain over torch, median of 5 turns" in lines[-1]


def test_where_the_cpu_multiplies_bfloat16_the_other_side_is_measured_in_it_too(tmp_path, capsys, bf16):
    bf16(True)
    fake = _other_side(tmp_path, "'bf16' if shape['bf16'] else 'fp32'")
    assert main([*TINY, "--steps", "5", "--json", "--against", fake]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["images_per_s"]) == {"dptrain", "torch", "torch bf16"}
    assert set(found["ratio"]) == {"torch", "torch bf16"}
    assert found["versions"]["torch"] == "fp32"
    assert main([*TINY, "--steps", "5", "--against", fake]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("torch bf16      4.0 images/s  training, bf16, 1 thread")
    assert "dptrain over torch bf16" in lines[-1]


def test_inference_is_measured_with_the_other_side_told_so(tmp_path, capsys, bf16):
    bf16(False)
    fake = _other_side(tmp_path, "str(shape['inference'])")
    assert main([*TINY, "--inference", "--steps", "5", "--against", fake]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "torch 1" in lines[1]
    assert "inference, fp32" in lines[-2]


@pytest.mark.skipif("avx2" not in isa.available(), reason="tiles are emulated on AVX2, which this CPU lacks")
def test_a_bench_in_bf16_is_one_on_both_sides(tmp_path, capsys):
    fake = _other_side(tmp_path, "'bf16' if shape['bf16'] else 'fp32'")
    small = ["--n", "1", "--filters", "8", "--image", "8", "--batch-size", "8", "--shard-size", "4"]
    assert main(["bench", *small, "--precision", "bf16", "--isa", "avx2", "--steps", "5", "--against", fake]) == 0
    out = capsys.readouterr().out
    assert "torch bf16" in out
    assert "training, bf16, 1 thread" in out
    assert "fp32" not in out


@pytest.mark.skipif("avx2" not in isa.available(), reason="tiles are emulated on AVX2, which this CPU lacks")
def test_layers_say_how_their_products_are_made(capsys):
    small = ["--n", "1", "--filters", "8", "--image", "8", "--batch-size", "8", "--shard-size", "4", "--isa", "avx2"]
    for precision, methods in (("bf16", {"tiles"}), ("fp32", {"direct", "winograd"})):
        assert main(["bench", *small, "--layers", "--precision", precision, "--steps", "5", "--json"]) == 0
        lines = json.loads(capsys.readouterr().out)["layers"]
        named = [line["name"].split() for line in lines]
        assert {words[-1] for words in named if words[1] != "means"} == methods
        assert all(line["floor"] > 0 for line, words in zip(lines, named, strict=True) if words[1] != "means")


def test_layers_of_a_network_that_is_not_lowered_are_refused(capsys):
    assert main([*TINY, "--layers"]) == 78
    assert "filters 4: only multiples of 8 are lowered" in capsys.readouterr().err


def test_two_measurements_at_once_are_refused(capsys):
    assert main([*TINY, "--layers", "--workers", "1,2"]) == 78
    assert "choose one" in capsys.readouterr().err
    assert main([*TINY, "--workers", "1,x"]) == 78
    assert "--workers 1,x: must be whole numbers from 1 to 1024" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--layers", "--against", "torch"], "leave --against out"),
        (["--augment", "flip"], "--augment belongs to whole trainings"),
        (["--workers", "1", "--image", "28"], "has those of its --dataset"),
        (["--workers", "1", "--augment", "flip", "--against", sys.executable], "PyTorch's side has crop:4,flip"),
        (["--workers", "3", "--against", sys.executable], "share a batch of 128 equally"),
    ],
)
def test_flags_that_would_change_nothing_or_make_unlike_sides_are_refused(flags, words, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules["dptrain.cli.bench"], "find_python", lambda against: against)
    assert main(["bench", *flags]) == 78
    assert words in capsys.readouterr().err


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_whole_jobs_are_set_beside_the_other_sides_with_as_many_processes(tmp_path, capsys):
    fake = tmp_path / "python"  # answers as torch_job.py does: so many processes, so many steps a second
    fake.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "job = json.loads(sys.argv[2])\n"
        "print(json.dumps({'torch': '9.9', 'seconds': [1 / job['processes']] * job['steps']}))\n"
    )
    fake.chmod(0o755)
    small = ["--n", "1", "--filters", "4", "--dataset", "fashion-mini", "--data-dir", str(tmp_path)]
    assert main(["bench", *small, "--workers", "1,2", "--steps", "5", "--json", "--against", str(fake)]) == 0
    jobs = {(job["side"], job["workers"]): job for job in json.loads(capsys.readouterr().out)["jobs"]}
    assert set(jobs) == {("dptrain", 1), ("dptrain", 2), ("torch", 1), ("torch", 2)}
    assert jobs["torch", 1]["images"] == 128.0
    assert jobs["torch", 2]["images"] == 256.0
    assert jobs["dptrain", 2]["coordinator_ms"] > 0
    assert jobs["dptrain", 1]["low"] <= jobs["dptrain", 1]["images"] <= jobs["dptrain", 1]["high"]


def test_no_file_beside_the_scripts_for_another_python_hides_one_of_its_own_modules():
    """A script's folder comes first in its path: a `statistics.py` here once broke `import torch` there."""
    names = {path.stem for path in Path(torch_side.__file__).parent.glob("*.py")}
    assert names & sys.stdlib_module_names == set()


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
