"""The wheel: what it holds, and that it trains, evaluates and reports where there is no repository."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import dptrain

FOLDERS = ("dptrain", "workers", "launch")
#: Files of dptrain/ that are no Python code and belong into the wheel.
DATA = ("dptrain/py.typed", "dptrain/data/embedded/", "dptrain/recipes/")


def belonging(root):
    """Path in the wheel of every file that must be there."""
    for folder in FOLDERS:
        place = "dptrain" if folder == "dptrain" else f"dptrain/{folder}"
        for file in sorted((root / folder).rglob("*")):
            if file.is_symlink() or not file.is_file() or "__pycache__" in file.parts:
                continue
            path = file.relative_to(root).as_posix()
            if file.suffix == ".py" or path.startswith(DATA):
                yield f"{place}/{file.relative_to(root / folder).as_posix()}"


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Built from a copy, because setuptools leaves files in the folder it builds from. The copy holds tests and tools,
    so that a wheel which packages them is noticed."""
    copy, out = tmp_path_factory.mktemp("source") / "dptrain", tmp_path_factory.mktemp("wheel")
    for folder in (*FOLDERS, "tests", "benchmarks", "tools"):
        shutil.copytree(root / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / file, copy)
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", str(out)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return next(out.glob("dptrain-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The interpreter of a virtual environment with this wheel, which finds its libraries in the environment of the
    tests, but nothing of the repository."""
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    site = next((place / "venv" / "lib").glob("python*")) / "site-packages"
    # A line of a .pth file is a directory to search. The .pth files inside it, an editable dptrain's, are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ["-q", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    return place / "venv" / "bin" / "python"


def test_the_wheel_holds_every_file_of_the_library_and_nothing_else(root, wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == set(belonging(root))


def test_the_wheel_holds_no_tests_no_simulator_no_benchmark_and_no_tools(wheel):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"dptrain"}
    assert [n for n in names if "simulat" in n or "/test" in n or n.endswith((".sh", "Dockerfile"))] == []
    assert "dptrain/workers/gradient.py" in names
    assert "dptrain/recipes/fashion-quick.toml" in names


def test_the_installed_wheel_trains_evaluates_and_reports_without_the_repository(installed, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home), "PATH": os.environ["PATH"]}

    def run(*words):
        options = {"cwd": tmp_path, "env": environ, "capture_output": True, "text": True, "timeout": 240}
        done = subprocess.run([installed, "-P", *words], **options, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout + done.stderr

    found = run("-c", "import dptrain.workers as w, dptrain.launch as l; print(w.__file__, l.__file__)").split()
    assert [str(Path(installed).parents[1]) in path for path in found] == [True, True], found

    # LeNet has the fewest kernels: in an empty home all of them are compiled, by every worker.
    train = [
        "--dataset",
        "fashion-mini",
        "--network",
        "lenet",
        "--samples",
        "256",
        "--batch-size",
        "64",
        "--epochs",
        "1",
    ]
    run("-m", "dptrain", "train", *train, "--workers", "1", "--augmenters", "1", "--name", "first")
    assert " acc " in run("-m", "dptrain", "eval", "runs/first")
    run("-m", "dptrain", "report", "runs/first")
    assert any((home / ".cache" / "dptrain").rglob("*.nbc"))
    assert "data:image/png;base64," in (tmp_path / "runs" / "first" / "report.html").read_text()


def test_every_module_is_found_from_any_directory_by_its_installed_name(root, tmp_path):
    paths = [path for path in belonging(root) if path.endswith(".py")]
    modules = [p.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for p in paths]
    code = f"import importlib.util as u; print([m for m in {modules!r} if u.find_spec(m) is None])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_version_is_the_one_of_the_package():
    assert importlib.metadata.version("dptrain") == dptrain.__version__
