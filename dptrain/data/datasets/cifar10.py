"""CIFAR-10 in its two official layouts, Python pickles and binary records, and the reader that CIFAR-100 shares.

The pickles are read without running anything that they name: only NumPy arrays of unsigned bytes can come out.
"""

from __future__ import annotations

import io
import pickle
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.descriptor import Descriptor, Files, Form, Source, tool_folders
from dptrain.errors import DataError
from dptrain.pickles import UNSOUND, Foreign, load_admitted
from dptrain.types import I64, U8

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = "test_batch"
MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)

_SIDE, _CHANNELS = 32, 3
_PIXELS = _SIDE * _SIDE * _CHANNELS
_MOST_BYTES = 512 << 20  #: of a file; CIFAR-100's training file, the largest, has 155 MB


def files(folder: Path) -> list[Path]:
    """The six files of a folder in either layout, in order; none if it holds no batch. They may not all exist."""
    for suffix in (".bin", ""):
        paths = [folder / f"{name}{suffix}" for name in (*TRAIN, TEST)]
        if any(path.is_file() for path in paths):
            return paths
    return []


def read(paths: list[Path]) -> tuple[Part, Part]:
    """Training and test part. All five training batches must be equally long, as the official ones are."""
    batches = [_binary(path) if path.suffix == ".bin" else _python(path) for path in paths]
    for path, later in zip(paths[1:-1], batches[1:-1], strict=True):
        if later.labels.size != batches[0].labels.size:
            raise DataError(
                f"{path} holds {later.labels.size} images, {paths[0].name} {batches[0].labels.size}: "
                "one of the two is incomplete, fetch it again"
            )
    images = np.concatenate([one.images for one in batches[:-1]])
    return Part(images, np.concatenate([one.labels for one in batches[:-1]])), batches[-1]


def records(path: Path, labels: int) -> U8:
    """(n, labels + 3072): records of so many label bytes and 3,072 pixel bytes. Raises DataError."""
    size = labels + _PIXELS
    raw = np.frombuffer(whole(path), np.uint8)
    if raw.size == 0 or raw.size % size:
        raise DataError(f"{path} has {raw.size} bytes; records of {size} bytes do not fill it: fetch it again")
    return raw.reshape(-1, size)


def batch(path: Path, key: str) -> tuple[U8, I64]:
    """A pickled dictionary; of it, "data" (n, 3072) uint8 and the labels, a list of ints. Raises DataError."""
    content = load_batch(path)
    data, labels = content.get("data"), content.get(key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS:
        shape = f"of shape {data.shape}" if isinstance(data, np.ndarray) else "missing"
        raise DataError(f'{path}: its "data" is {shape}; an array of (n, {_PIXELS}) unsigned bytes is needed')
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise DataError(f'{path}: its "{key}" are missing or not a list of class numbers')
    return data, np.array(labels, np.int64)


def part(path: Path, planes: U8, labels: I64, classes: int) -> Part:
    """(n, 3072) bytes, one plane per channel -> (n, 32, 32, 3). Raises DataError."""
    if len(planes) != labels.size or labels.size == 0:
        raise DataError(f"{path} holds {len(planes)} images and {labels.size} labels")
    if labels.max() >= classes:
        name = "CIFAR-10" if classes == len(CLASSES) else "CIFAR-100"
        raise DataError(f"{path} has a label {labels.max()}; {name} has classes 0 ... {classes - 1}")
    images = planes.reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return Part(np.ascontiguousarray(images), labels)


def _binary(path: Path) -> Part:
    found = records(path, labels=1)
    return part(path, found[:, 1:], found[:, 0].astype(np.int64), len(CLASSES))


def _python(path: Path) -> Part:
    planes, labels = batch(path, "labels")
    return part(path, planes, labels, len(CLASSES))


def whole(path: Path) -> bytes:
    """The file's bytes. Raises DataError, naming it."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are read")
        return path.read_bytes()
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}") from e


def load_batch(path: Path) -> dict[str, Any]:
    """The dictionary of one batch, with text keys and uint8 arrays. Raises DataError, naming the file."""
    raw = whole(path)
    try:
        content = load_admitted(io.BytesIO(raw), len(raw), _ADMITTED)
    except Foreign as e:
        raise DataError(f"{path} names {e}, which no CIFAR batch holds: refused, do not trust this file") from e
    except UNSOUND as e:
        raise DataError(f"{path} is not a CIFAR batch, or a damaged one: {' '.join(str(e).split())}") from e
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not the dictionary of a CIFAR batch")
    return {_text(k): v.value if isinstance(v, _Array) else v for k, v in content.items()}


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


class _Dtype:
    """Stands in for numpy.dtype: keeps the name, builds nothing."""

    __slots__ = ("name",)

    def __init__(self, name: object, *_: object) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else name

    def __setstate__(self, state: object) -> None:
        """Byte order and the like mean nothing for single bytes."""


class _Array:
    """Stands in for numpy.ndarray and the function that makes one; can only become a uint8 array."""

    __slots__ = ("value",)

    def __init__(self, *_: object) -> None:
        self.value: U8 | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), tuple(shape), _Dtype(name="u1"), bool() | int() as fortran, bytes(data)) if not fortran:
                if all(isinstance(n, int) and n >= 0 for n in shape) and prod(shape) == len(data):
                    self.value = np.frombuffer(data, np.uint8).reshape(shape)
                    return
            case (_, _, _Dtype(name=name), *_) if name != "u1":
                raise pickle.UnpicklingError(f"it holds an array of dtype {name!r}, not of unsigned bytes")
        raise pickle.UnpicklingError("it holds an array that is not a plain C-ordered one of unsigned bytes")


#: All that the official files name, in the spelling of NumPy before and since 2.0, and what they get instead.
_ADMITTED: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


def _find(home: Path, _: Form) -> Files | None:
    elsewhere = [base / f"{PYTHON}{target}" for base in tool_folders() for target in ("", f"-target/{PYTHON}")]
    folders = [home / BINARY, home / PYTHON, home, *elsewhere]
    paths = next((found for folder in folders if (found := files(folder))), None)
    return None if paths is None else Files("cifar10", CLASSES, paths[0].parent, paths, lambda: read(paths))


DATASET = Descriptor(
    name="cifar10",
    about="photographs",
    form=Form(32, 32, 3, len(CLASSES)),
    train=50_000,
    test=10_000,
    terms="no licence stated, cite the report",
    find=_find,
    wanted=f"{PYTHON} or {BINARY}",
    places=(PYTHON, BINARY),
    needed=(
        Source(
            "cifar-10-python.tar.gz",
            "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            MIRRORS,
        ),
    ),
    accepted=(Source("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530", MIRRORS),),
)
