"""MNIST as Kaggle's digit-recognizer has it: CSV files with one image per line. MNIST's own format: mnist.py."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.datasets.mnist import DIGITS
from dptrain.data.descriptor import Descriptor, Files, Form
from dptrain.errors import DataError
from dptrain.types import U8

FILE = "train.csv"
TEST = 2000  #: the first rows are the test part, as in the predecessors; a file with fewer than 20,000 gives a tenth
_SIDE = 28
_MOST_BYTES = 512 << 20


def read(path: Path) -> tuple[Part, Part]:
    """Training and test part. Raises DataError naming the file and, where it can, the row."""
    wanted = ["label", *(f"pixel{i}" for i in range(_SIDE * _SIDE))]
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are read")
        with path.open(encoding="ascii") as file:
            if [name.strip().strip('"') for name in file.readline(20_000).split(",")] != wanted:
                raise DataError(f"{path} does not begin with label,pixel0,...,pixel783: Kaggle's train.csv is needed")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of an empty file; its rows are counted below
                table = np.loadtxt(file, np.int16, delimiter=",", ndmin=2)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
    if table.shape[0] < 10 or table.shape[1] != len(wanted):
        raise DataError(
            f"{path} holds {table.shape[0]} rows of {table.shape[1]} values; 10 rows or more of {len(wanted)}"
        )
    if table.min() < 0 or table.max() > 255 or table[:, 0].max() > 9:
        bad = np.flatnonzero((table.min(axis=1) < 0) | (table.max(axis=1) > 255) | (table[:, 0] > 9))[0]
        raise DataError(f"{path}, line {bad + 2}: labels are 0 ... 9 and values 0 ... 255")
    images = table[:, 1:].astype(np.uint8).reshape(-1, _SIDE, _SIDE, 1)
    labels = table[:, 0].astype(np.int64)
    cut = min(TEST, len(labels) // 10)
    return Part(images[cut:], labels[cut:]), Part(images[:cut], labels[:cut])


def read_pixels(path: Path, shape: tuple[int, int, int]) -> U8:
    """(n, h, w, c): a table without labels, such as test.csv; h * w * c columns below a header line.

    Raises DataError naming the line.
    """
    height, width, channels = shape
    columns = height * width * channels
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are read")
        head, *lines = path.read_text(encoding="ascii").splitlines()
        if head.count(",") + 1 != columns:
            raise DataError(f"{path} has {head.count(',') + 1} columns; the network's images have {columns} values")
        if not lines:
            raise DataError(f"{path} has a header line, but no image")
        table = np.empty((len(lines), columns), np.uint8)
        for number, line in enumerate(lines):
            values = np.array(line.split(","), np.int64)
            if values.size != columns or values.min() < 0 or values.max() > 255:
                raise DataError(f"{path}, line {number + 2}: {columns} values from 0 to 255 are needed")
            table[number] = values
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path} is no table of pixels: {' '.join(str(error).split())}") from error
    return table.reshape(-1, height, width, channels)


def _find(home: Path, _: Form) -> Files | None:
    folders = [home / name for name in (DATASET.folder, *DATASET.places)]
    path = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
    return None if path is None else Files("mnist-kaggle", DIGITS, path.parent, [path], lambda: read(path))


DATASET = Descriptor(
    name="mnist-kaggle",
    about="handwritten digits",
    form=Form(28, 28, 1, 10),
    train=40_000,
    test=TEST,
    find=_find,
    wanted=FILE,
    folder="mnist-kaggle",
    places=("digit-recognizer",),
    by_hand="https://www.kaggle.com/c/digit-recognizer/data (train.csv)",
    holds=(FILE,),
)
