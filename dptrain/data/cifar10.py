"""CIFAR-10 in its two official layouts, python pickles and binary records. Where the folder is: catalog.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.unpickle import load_batch
from dptrain.errors import DataError
from dptrain.types import U8

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
    for path, batch in zip(paths[1:-1], batches[1:-1], strict=True):
        if batch.labels.size != batches[0].labels.size:
            raise DataError(
                f"{path} holds {batch.labels.size} images, {paths[0].name} {batches[0].labels.size}: "
                "one of the two is incomplete, fetch it again"
            )
    images = np.concatenate([batch.images for batch in batches[:-1]])
    return Part(images, np.concatenate([batch.labels for batch in batches[:-1]])), batches[-1]


def _binary(path: Path) -> Part:
    """Records of one label byte and 3,072 pixel bytes."""
    try:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}") from e
    if raw.size == 0 or raw.size % (1 + _PIXELS):
        raise DataError(f"{path} has {raw.size} bytes; records of {1 + _PIXELS} bytes do not fill it: fetch it again")
    records = raw.reshape(-1, 1 + _PIXELS)
    return _part(path, records[:, 1:], records[:, 0].astype(np.int64))


def _python(path: Path) -> Part:
    """A pickled dictionary; of it, "data" (n, 3072) uint8 and "labels", a list of ints."""
    batch = load_batch(path)
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS:
        shape = f"of shape {data.shape}" if isinstance(data, np.ndarray) else "missing"
        raise DataError(f'{path}: its "data" is {shape}; an array of (n, {_PIXELS}) unsigned bytes is needed')
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise DataError(f'{path}: its "labels" are missing or not a list of class numbers')
    return _part(path, data, np.array(labels, np.int64))


def _part(path: Path, planes: U8, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Part:
    """(n, 3072) bytes, a plane a channel -> (n, 32, 32, 3)."""
    if len(planes) != labels.size or labels.size == 0:
        raise DataError(f"{path} holds {len(planes)} images and {labels.size} labels")
    if labels.max() >= len(CLASSES):
        raise DataError(f"{path} has a label {labels.max()}; CIFAR-10 has classes 0 ... {len(CLASSES) - 1}")
    images = planes.reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return Part(np.ascontiguousarray(images), labels)
