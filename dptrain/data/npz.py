"""Files of NumPy arrays, `npz:FILE`: images, labels, and what is said about them. Nothing is unpickled."""

from __future__ import annotations

import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.lib import format as array_format

from dptrain.data.arrays import Labelled, Reading, labelled
from dptrain.data.parts import Given
from dptrain.errors import DataError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
_MOST_BYTES = 16 << 30  #: of a .npz file, unpacked
#: Names of the arrays in a .npz file: images and labels for training, test and validation; Keras' and MedMNIST's first.
_TRAIN = (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"), ("images", "labels"))
_TEST = (("x_test", "y_test"), ("test_images", "test_labels"))
_VALIDATION = (("x_val", "y_val"), ("x_validation", "y_validation"), ("val_images", "val_labels"))
_SAID = ("class_names", "pixel_range", "layout")


def read_npz(path: Path) -> tuple[Given, list[str]]:
    """The parts in a .npz file, and its names of the classes. Raises DataError."""
    return _parts(path, _content(path))


def _content(path: Path) -> dict[str, Array]:
    """The arrays. Nothing is unpickled. Raises DataError."""
    known = {name for pair in (*_TRAIN, *_TEST, *_VALIDATION) for name in pair} | set(_SAID)
    try:
        with zipfile.ZipFile(path) as members:
            _check_sizes(members)
        with np.load(path, allow_pickle=False) as arrays:
            if others := sorted(set(arrays.files) - known):
                raise DataError(f"{path} holds {others[0]!r}; known are {_spellings()}, {', '.join(_SAID)}")
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        text = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path} is no .npz file of plain arrays, or a damaged one: {text}") from error


def _check_sizes(members: zipfile.ZipFile) -> None:
    """Raises ValueError for an array that announces more than its file holds: NumPy would reserve that much memory."""
    if sum(member.file_size for member in members.infolist()) > _MOST_BYTES:
        raise ValueError(f"it unpacks to more than {_MOST_BYTES:,} bytes")
    for member in members.infolist():
        with members.open(member) as file:
            version = array_format.read_magic(file)
            read = array_format.read_array_header_1_0 if version == (1, 0) else array_format.read_array_header_2_0
            shape, _, dtype = read(file)
        if prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} is shorter than its header says")


def _parts(path: Path, content: dict[str, Array]) -> tuple[Given, list[str]]:
    said = {name: content[name].tolist() for name in _SAID if name in content}
    span = said.get("pixel_range")
    reading = Reading(span, str(said.get("layout", "")))
    names = said.get("class_names", [])
    if not isinstance(names, list):
        raise DataError(f"{path}: class_names must be an array of texts")
    parts: list[Labelled | None] = []
    for spellings in (_TRAIN, _TEST, _VALIDATION):
        there = [pair for pair in spellings if any(name in content for name in pair)]
        if len(there) > 1 or any(name not in content for pair in there for name in pair):
            raise DataError(
                f"{path} holds {', '.join(n for p in there for n in p if n in content)}: {_spellings()} are needed"
            )
        pair = there[0] if there else None
        what = f"{path.name}: {pair[0]}" if pair else ""
        parts.append(labelled(content[pair[0]], content[pair[1]], what, reading) if pair else None)
    if parts[0] is None:
        raise DataError(f"{path} holds no images for training: {_spellings()} are needed")
    return Given(parts[0], parts[1], parts[2]), [str(name) for name in names]


def _spellings() -> str:
    return (
        " and ".join(_TRAIN[0]) + f" (or {' and '.join(_TRAIN[1])}), {', '.join(_TEST[0])}, {', '.join(_VALIDATION[0])}"
    )
