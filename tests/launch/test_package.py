"""The wheel and the editable installation hold the whole library under one name."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile

import pytest

import dptrain

MAPPED = {
    "dptrain": "dptrain",
    "workers": "dptrain/workers",
    "launch": "dptrain/launch",
}  #: folder -> place when installed
DATA = ("dptrain/py.typed", "dptrain/data/embedded/", "dptrain/recipes/")


def belonging(root):
    """Place in the wheel of every file that has to be there."""
    files = [f for folder in MAPPED for f in (root / folder).rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    for file in sorted(files):
        path = file.relative_to(root).as_posix()
        folder, _, rest = path.partition("/")
        if file.suffix == ".py" or path.startswith(DATA):
            yield f"{MAPPED[folder]}/{rest}"


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Built from a copy: setuptools leaves files in the folder it builds from."""
    copy, out = tmp_path_factory.mktemp("source") / "dptrain", tmp_path_factory.mktemp("wheel")
    for folder in MAPPED:
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(root / file, copy)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(copy),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return next(out.glob("dptrain-*.whl"))


def test_the_wheel_holds_every_file_of_the_library_and_nothing_else(root, wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == set(belonging(root))


def test_the_wheel_works_without_the_repository(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import dptrain.launch.health, dptrain.data\nfrom dptrain.configfile import resolve\n"
        "print(dptrain.__file__, resolve('fashion-quick').training.epochs, resolve('cifar10-paper-20').training.epochs)"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [str(tmp_path / "site" / "dptrain" / "__init__.py"), "12", "182"]


def test_every_module_is_found_from_any_directory_by_its_installed_name(root, tmp_path):
    modules = [
        p.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for p in belonging(root) if p.endswith(".py")
    ]
    code = f"import importlib.util as u; print([m for m in {modules!r} if u.find_spec(m) is None])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_version_is_the_one_of_the_package():
    assert importlib.metadata.version("dptrain") == dptrain.__version__
