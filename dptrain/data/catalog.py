"""Data sets by name, and where their files are looked for. How the files are read: cifar10.py, idx.py and so on."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dptrain.data import cifar10, fashion_mini, shapes32
from dptrain.data.cache import load_or_decode
from dptrain.data.dataset import Dataset, Part
from dptrain.data.idx import read_idx
from dptrain.errors import DataError, UsageError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
_IDX_FILES = (  # name, dimensions
    ("train-images-idx3-ubyte", 3),
    ("train-labels-idx1-ubyte", 1),
    ("t10k-images-idx3-ubyte", 3),
    ("t10k-labels-idx1-ubyte", 1),
)


def data_home(data_dir: str) -> Path:
    """Where data sets lie: `data_dir`, else $DPTRAIN_DATA, else $XDG_DATA_HOME/dptrain, else ~/.local/share/dptrain."""
    named = data_dir or os.environ.get("DPTRAIN_DATA", "")
    if named:
        return Path(named).expanduser()
    share = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(share).expanduser() / "dptrain"


def open_dataset(name: str, data_dir: str) -> Dataset:
    """Opens a data set; files are decoded once into <data home>/cache and mapped from there.

    Raises UsageError for an unknown name, DataError where files are missing or not what they should be.
    """
    if name not in _OPENERS:
        close = difflib.get_close_matches(name, _OPENERS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"there is no data set {name!r}: {hint}There are {', '.join(_OPENERS)}")
    return _OPENERS[name](data_home(data_dir))


def _cifar10(home: Path) -> Dataset:
    folders = [home / cifar10.BINARY, home / cifar10.PYTHON, home]
    paths = next((found for folder in folders if (found := cifar10.files(folder))), None)
    if paths is None:
        raise DataError(
            f"cifar10: no {cifar10.TRAIN[0]}.bin and no {cifar10.TRAIN[0]} in {_listed(folders)}; unpack "
            "cifar-10-binary.tar.gz or cifar-10-python.tar.gz there, or name another folder with --data-dir"
        )
    _all_there("cifar10", paths)
    return load_or_decode("cifar10", cifar10.CLASSES, paths, home / "cache", lambda: cifar10.read(paths))


def _idx(name: str, classes: tuple[str, ...], home: Path, folders: list[Path], advice: str) -> Dataset:
    paths = next((found for folder in folders if (found := _idx_paths(folder))), None)
    if paths is None:
        names = ", ".join(f"{file}[.gz]" for file, _ in _IDX_FILES)
        raise DataError(
            f"{name}: none of {names} in {_listed(folders)}; put the four files into the first of these folders, "
            f"or name another one with --data-dir{advice}"
        )
    _all_there(name, paths)

    def decode() -> tuple[Part, Part]:
        arrays = [read_idx(path, dims) for path, (_, dims) in zip(paths, _IDX_FILES, strict=True)]
        parts = [Part(arrays[i][..., np.newaxis], arrays[i + 1].astype(np.int64)) for i in (0, 2)]
        return parts[0], parts[1]

    return load_or_decode(name, classes, paths, home / "cache", decode)


def _idx_paths(folder: Path) -> list[Path]:
    """The four files of a folder, unpacked or else .gz; none where it holds not one. They may not all exist."""
    plain = [folder / file for file, _ in _IDX_FILES]
    paths = [path if path.is_file() else path.with_name(f"{path.name}.gz") for path in plain]
    return paths if any(path.is_file() for path in paths) else []


def _all_there(name: str, paths: list[Path]) -> None:
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{name}: {', '.join(missing)} missing in {paths[0].parent}; the set is incomplete")


def _listed(folders: list[Path]) -> str:
    return " or ".join(str(folder) for folder in folders)


def _mnist(home: Path) -> Dataset:
    digits = tuple(str(digit) for digit in range(10))
    return _idx("mnist", digits, home, [home / "mnist", home], "")


def _fashion_mnist(home: Path) -> Dataset:
    folders = [home / "fashion-mnist", home, DEBIAN_FASHION_MNIST]
    return _idx("fashion-mnist", fashion_mini.CLASSES, home, folders, " (Debian: apt install dataset-fashion-mnist)")


_OPENERS: dict[str, Callable[[Path], Dataset]] = {
    fashion_mini.NAME: lambda _: fashion_mini.load(),
    shapes32.NAME: lambda _: shapes32.load(),
    "cifar10": _cifar10,
    "mnist": _mnist,
    "fashion-mnist": _fashion_mnist,
}
NAMES = tuple(_OPENERS)
