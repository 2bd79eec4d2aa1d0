"""benchmarks/beside.py: the programs alternate, the ratio is computed per turn, bad input is one line."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.beside import main
from benchmarks.pyfunt_step import make_step
from benchmarks.sides import measure
from dptrain.kernels import isa

SMALL = ["--n", "1", "--filters", "4", "--batch-size", "8", "--shard-size", "4", "--steps", "5"]
TINY = ["torch", *SMALL, "--image", "8", "--channels", "1"]


def a_python(folder, text):
    """An executable that runs this text instead of the module it is asked for."""
    fake = folder / "python"
    fake.write_text(f"#!{sys.executable}\n{text}")
    fake.chmod(0o755)
    return str(fake)


def steps_of_two_seconds(folder, version):
    """A Python whose torch answers that each step took exactly 2 s; `version` is computed from the shape it gets."""
    return a_python(
        folder,
        "import json, sys\n"
        "shape = json.loads(sys.stdin.readline())\n"
        f"print(json.dumps({{'torch': {version}, 'python': '3'}}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps([2.0] * int(line)), flush=True)\n",
    )


@pytest.fixture
def bf16(monkeypatch):
    """bf16(True): as on a CPU that multiplies bfloat16."""

    def have(found):
        flags = isa.cpu_flags() - {"avx512_bf16", "amx_bf16"} | ({"avx512_bf16"} if found else set())
        monkeypatch.setattr(isa, "cpu_flags", lambda: flags)

    return have


# --- the command line


@pytest.mark.parametrize(("words", "found"), [((), "torch"), (("torch",), "--python"), (("pyfunt",), "CHECKOUT")])
def test_the_script_prints_help_from_any_directory(root, tmp_path, words, found):
    command = [sys.executable, root / "benchmarks" / "beside.py", *words, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "benchmarks/beside.py" in done.stdout
    assert found in done.stdout


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["torch", "--python", "/no/python"], 78, "--python /no/python: no such program; give the path of a Python"),
        (["torch", "--python", "true"], 78, "it ended without a message"),
        (["torch", "--python", "echo"], 78, "it is no Python: it answers '-m benchmarks.torch_step'"),
        (["torch", "--steps", "4"], 78, "--steps 4: must be a whole number from 5"),
        (["torch", "--inference", "--workers", "1"], 78, "two different measurements"),
        (["torch", "--workers", "3"], 78, "--workers 3: PyTorch's processes must divide a batch of 128 evenly"),
        (["torch", "--workers", "1", "--image", "28"], 78, "the --dataset determines them"),
        (["torch", "--workers", "1", "--python", "true"], 78, "it ended without a message"),
        (["torch", "--against", "x"], 64, "--against"),
        (["pyfunt"], 64, "see `benchmarks/beside.py pyfunt --help`"),
        (["pyfunt", "."], 78, "has no res_net.py"),
        (["numpy"], 64, "numpy"),
    ],
)
def test_bad_input_is_one_line_that_names_it(argv, code, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("benchmarks/beside.py: error: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize("more", [[], ["--workers", "1"]])
def test_a_python_without_torch_is_refused_before_anything_is_measured(more, tmp_path, capsys):
    fake = a_python(tmp_path, "import torch_that_is_not_there\n")
    argv = ["torch", *SMALL, *more, "--python", fake]
    assert main(argv) == 78
    reason = "ModuleNotFoundError: No module named 'torch_that_is_not_there'; give the path of a Python that has it"
    assert capsys.readouterr().err == f"benchmarks/beside.py: error: --python {fake}: {reason}\n"


# --- steps


def test_programs_alternate_and_their_ratio_is_the_median_of_the_turns():
    turns = []

    def program(name, seconds):
        def run(steps):
            turns.append(name)
            return [seconds.pop(0) if len(turns) > 2 else 1.0] * steps  # the first two turns are the warm-up

        return run

    ours = program("ours", [1.0, 1.0, 1.0, 4.0, 1.0])
    theirs = program("theirs", [2.0, 3.0, 5.0, 4.0, 2.0])
    seconds, ratios = measure({"ours": ours, "theirs": theirs}, 5)
    assert turns[2:] == ["ours", "theirs", "theirs", "ours"] * 2 + ["ours", "theirs"]
    assert seconds == {"ours": [1.0, 1.0, 1.0, 4.0, 1.0], "theirs": [2.0, 3.0, 5.0, 4.0, 2.0]}
    assert ratios["theirs"] == (2.0, 1.0, 5.0)


def test_the_seconds_of_the_other_program_are_those_its_process_answers(tmp_path, capsys, bf16):
    bf16(False)
    assert main([*TINY, "--python", steps_of_two_seconds(tmp_path, "'9.9'")]) == 0
    lines = capsys.readouterr().out.splitlines()
    words = [line.split()[0] for line in lines]
    assert words == ["machine", "versions", "model", "dptrain", "torch", "torch", "ratio", "ratio"]
    assert "torch 9.9" in lines[1]
    assert lines[4].endswith("4.0 images/s  training, fp32, 1 thread, median (quartiles 4.0 to 4.0, 5 steps)")
    ours = float(lines[3].split()[1])
    assert float(lines[6].split()[1]) == pytest.approx(ours / 4.0, rel=0.5)  # a median of turns, not of steps
    assert "dptrain over torch" in lines[6]
    assert "median of 5 turns" in lines[6]


def test_the_other_program_gets_the_kind_of_shortcut(tmp_path, capsys):
    fake = steps_of_two_seconds(tmp_path, "' '.join(str(shape[key]) for key in ('average', 'at_end', 'project'))")
    for shortcut, told in (("avgpool-end", "1 1 0"), ("C", "0 0 2")):
        assert main([*TINY, "--shortcut", shortcut, "--python", fake]) == 0
        out = capsys.readouterr().out
        assert f"torch {told}" in out
        assert f"shortcut {shortcut}," in out


#: The seconds of a step in each mode of PyTorch.
MODES = {(0, 0): 4.0, (0, 1): 2.0, (1, 0): 1.0, (1, 1): 8.0}


def modes(folder, compiled="seconds"):
    """A Python whose torch takes the seconds of MODES; `compiled`: what it does when it is to compile."""
    return a_python(
        folder,
        "import json, sys\n"
        "shape = json.loads(sys.stdin.readline())\n"
        f"seconds = {MODES}[shape['bf16'], shape['compile']]\n"
        "print(json.dumps({'torch': '9.9', 'python': '3'}), flush=True)\n"
        "for line in sys.stdin:\n"
        f"    taken = ({compiled}) if shape['compile'] else seconds\n"
        "    print(json.dumps([taken] * int(line)), flush=True)\n",
    )


def test_the_fastest_mode_of_each_precision_is_the_yardstick(tmp_path, capsys, bf16):
    bf16(True)
    assert main([*TINY, "--python", modes(tmp_path)]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    speeds = {line[0].strip(): " ".join(line).split() for line in lines if "images/s" in " ".join(line)}
    assert set(speeds) == {"dptrain", "torch", "torch compile", "torch bf16", "torch compile bf16"}
    ratios = [line[-1] for line in lines if line[0] == "ratio"]
    assert [words.split(", median")[0] for words in ratios] == [
        "dptrain over torch",
        "dptrain over torch compile, their fastest fp32",
        "dptrain over torch bf16, their fastest bf16",
        "dptrain over torch compile bf16",
    ]
    bf16(False)
    assert main([*TINY, "--json", "--python", modes(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["images_per_s"]) == {"dptrain", "torch", "torch compile"}
    assert found["fastest"] == {"fp32": "torch compile"}


def test_where_torch_cannot_compile_the_other_mode_is_measured_and_the_reason_printed(tmp_path, capsys, bf16):
    bf16(False)
    assert main([*TINY, "--python", modes(tmp_path, "sys.exit('no C++ compiler')")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:]] == ["dptrain", "torch", "torch", "ratio"]
    assert lines[5].startswith("torch compile not measured: ")
    assert "no C++ compiler" in lines[5]
    assert "their fastest fp32" in lines[6]


def test_inference_is_compared_with_inference(tmp_path, capsys, bf16):
    bf16(False)
    fake = steps_of_two_seconds(tmp_path, "str(shape['inference'])")
    assert main([*TINY, "--inference", "--python", fake]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "torch 1" in lines[1]
    assert all("inference, fp32" in line for line in lines[3:6])


def test_scores_are_compared_with_engines_that_read_our_onnx_file(tmp_path, capsys, bf16):
    bf16(True)
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'dptrain[onnx]'")
    fake = a_python(
        tmp_path,
        "import json, sys\n"
        "shape = json.loads(sys.stdin.readline())\n"
        "read = open(shape['file'], 'rb').read()\n"
        "print(json.dumps({shape['engine']: len(read) > 1000, 'python': '3'}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps([2.0] * int(line)), flush=True)\n",
    )
    for engine, sides in (("onnxruntime", {"onnxruntime"}), ("openvino", {"openvino", "openvino bf16"})):
        argv = [engine, *SMALL[:6], "--steps", "5", "--image", "8", "--channels", "1", "--json", "--python", fake]
        assert main(argv) == 0
        found = json.loads(capsys.readouterr().out)
        assert set(found["ratio"]) == sides
        assert found["images_per_s"][engine]["median"] == 4.0
        assert found["versions"][engine] is True


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_itself_is_measured(engine, capsys, bf16):
    bf16(False)
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'dptrain[onnx]'")
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    assert main([engine, *SMALL[:6], "--steps", "5", "--image", "8", "--channels", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images_per_s"][engine]["steps"] == 5


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed: pip install 'dptrain[parity]'")
@pytest.mark.parametrize("inference", [[], ["--inference"]])
def test_pytorch_itself_is_measured(capsys, inference, bf16):
    bf16(False)
    assert main([*TINY, *inference, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images_per_s"]["torch"]["steps"] == 5


# --- whole trainings


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_whole_trainings_are_compared_with_as_many_processes_of_torch(tmp_path, capsys):
    fake = a_python(  # each of its processes adds one step per second
        tmp_path,
        "import json, sys\n"
        "if sys.argv[1] == '-c':\n"
        "    print('9.9')\n"
        "    sys.exit()\n"
        "job = json.loads(sys.argv[3])\n"
        "print(json.dumps({'seconds': [1 / job['processes']] * job['steps']}))\n",
    )
    small = ["--n", "1", "--filters", "4", "--dataset", "fashion-mini", "--data-dir", str(tmp_path), "--steps", "5"]
    assert main(["torch", *small, "--workers", "1,2", "--json", "--python", fake]) == 0
    found = json.loads(capsys.readouterr().out)
    jobs = {(job["side"], job["workers"]): job for job in found["jobs"]}
    assert set(jobs) == {("dptrain", 1), ("dptrain", 2), ("torch", 1), ("torch", 2)}
    assert jobs["torch", 1]["images"] == 128.0
    assert jobs["torch", 2]["images"] == 256.0
    assert jobs["dptrain", 2]["coordinator_ms"] > 0
    assert jobs["torch", 2]["coordinator_ms"] == 0
    assert found["versions"]["torch"] == "9.9"
    for workers in (1, 2):
        ratio = found["ratio"][str(workers)]
        assert ratio["median"] == pytest.approx(jobs["dptrain", workers]["images"] / (128 * workers), rel=0.01)


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed: pip install 'dptrain[parity]'")
@pytest.mark.slow
def test_pytorch_itself_trains_with_two_processes(capsys, tmp_path):
    small = ["--n", "1", "--filters", "4", "--dataset", "fashion-mini", "--data-dir", str(tmp_path), "--steps", "5"]
    assert main(["torch", *small, "--workers", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:]] == ["dptrain", "torch", "share", "ratio"]


# --- PyFunt

RES_NET = """
import numpy as np


class ResNet:
    def __init__(self, n_size, num_starting_filters, dtype):
        self.size = n_size, num_starting_filters, dtype

    def loss(self, x, y=None):
        assert self.size == (1, 4, np.float32) and x.dtype == np.float32
        return x.shape, None if y is None else y.shape
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with the functions of PyFunt's network that are called."""
    (tmp_path / "res_net.py").write_text(RES_NET)
    return tmp_path


def test_pyfunt_is_measured_in_its_python(checkout, capsys):
    for inference, kind in (([], "training"), (["--inference"], "inference")):
        assert main(["pyfunt", str(checkout), *SMALL, *inference]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["machine", "versions", "model", "dptrain", "PyFunt", "ratio"]
        assert f"their python {sys.version.split()[0]}" in lines[1]
        assert "shortcut avgpool," in lines[2]
        assert f"{kind}, fp32" in lines[4]


def test_a_step_of_pyfunt_gets_labels_and_inference_does_not(checkout, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    shape = {"n": 1, "filters": 4, "batch": 8, "channels": 3, "image": 32, "classes": 10, "checkout": str(checkout)}
    assert make_step(shape | {"inference": 0})() == ((8, 3, 32, 32), (8,))
    assert make_step(shape | {"inference": 1})() == ((8, 3, 32, 32), None)


# --- the folder


def test_no_file_beside_a_script_hides_a_module_of_python(root):
    """Other Pythons start in the repository, scripts in their folder: a `statistics.py` once broke `import torch`."""
    for folder in (root, root / "benchmarks"):
        assert {Path(name).stem for name in os.listdir(folder)} & sys.stdlib_module_names == set()


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("dptrain/types.py", "import benchmarks.sides", "the package never imports them"),
        ("workers/__init__.py", "import benchmarks.sides", "the package never imports them"),
        ("benchmarks/torch_step.py", "import dptrain.errors", "imports nothing of dptrain"),
    ],
)
def test_an_import_in_the_wrong_direction_breaks_a_contract(root, tmp_path, file, line, contract):
    for folder in ("dptrain", "workers", "launch", "benchmarks"):
        shutil.copytree(root / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as changed:
        changed.write(f"\n{line}\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    broken = " ".join(done.stdout.split()).split("Broken contracts")[-1]
    assert done.returncode == 1
    assert contract in broken
