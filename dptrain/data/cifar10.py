"""CIFAR-10 in its two official layouts, python pickles and binary records. Where the folder is: catalog.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.unpickle import load_batch, whole
from dptrain.errors import DataError
from dptrain.types import I64, U8

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = "test_batch"

_SIDE, _CHANNELS = 32, 3
_PIXELS = _SIDE * _SIDE * _CHANNELS


def files(folder: Path) -> list[Path]:
    """The six files of a folder in either layout, in order; none where it holds no batch. They may not all exist."""
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
    """(n, 3072) bytes, a plane a channel -> (n, 32, 32, 3). Raises DataError."""
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
