"""MNIST as Kaggle's digit-recognizer has it: CSV files with one image per line. MNIST's own format: mnist.py."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dptrain.data.dataset import Part
from dptrain.data.datasets.mnist import DIGITS
from dptrain.data.descriptor import Descriptor, Files, Form
from dptrain.data.table import header_of, text
from dptrain.errors import DataError
from dptrain.types import U8

FILE = "train.csv"
TEST = 2000  #: the first rows are the test part, as in the predecessors; a file with fewer than 20,000 gives a tenth
_SIDE = 28
_MOST_BYTES = 512 << 20
_LABEL = "label"


def read(path: Path) -> tuple[Part, Part]:
    """Training and test part. Raises DataError naming the file and, where it can, the line."""
    lines, header, delimiter = _table(path, [_LABEL])
    order = _pixels(path, header, _SIDE * _SIDE)
    if len(lines) < 10:
        raise DataError(f"{path} holds {len(lines)} rows; 10 or more are needed")
    table = _values(path, lines, delimiter, len(header))
    labels = table[:, header.index(_LABEL)].astype(np.int64)
    if labels.max() > 9:
        raise DataError(f"{path}, line {lines[int(np.argmax(labels > 9))][0]}: labels are 0 ... 9")
    images = _images(table, order, (_SIDE, _SIDE, 1))
    cut = min(TEST, len(labels) // 10)
    return Part(images[cut:], labels[cut:]), Part(images[:cut], labels[:cut])


def read_pixels(path: Path, shape: tuple[int, int, int]) -> U8:
    """(n, h, w, c): a table without labels, such as test.csv, with h * w * c columns pixel0, pixel1, ... in any order.

    Raises DataError naming the line.
    """
    lines, header, delimiter = _table(path, [])
    if _LABEL in header:
        raise DataError(f"{path} has a column {_LABEL!r}: a table without labels is needed, such as test.csv")
    order = _pixels(path, header, shape[0] * shape[1] * shape[2])
    if not lines:
        raise DataError(f"{path} has a header line, but no image")
    return _images(_values(path, lines, delimiter, len(header)), order, shape)


def _images(table: NDArray[np.int16], order: list[int], shape: tuple[int, int, int]) -> U8:
    return np.ascontiguousarray(table[:, order], np.uint8).reshape(-1, *shape)


def _table(path: Path, columns: list[str]) -> tuple[list[tuple[int, str]], list[str], str]:
    """(line number, text) of the lines below the header, the names of the columns, the delimiter."""
    first, *rest = text(path, _MOST_BYTES).splitlines() or [""]
    delimiter, header = header_of(path, [first], [*columns, f"pixel{0 if _names(first, 0) else 1}"])
    return [(number, line) for number, line in enumerate(rest, 2) if line.strip()], header, delimiter


def _names(line: str, number: int) -> bool:
    return re.search(rf"\bpixel{number}\b", line) is not None


def _pixels(path: Path, header: list[str], count: int) -> list[int]:
    """The position of each pixel's column: they are counted from 0 or from 1. Raises DataError."""
    at = {name: position for position, name in enumerate(header)}
    first = 0 if "pixel0" in at else 1
    wanted = [f"pixel{number}" for number in range(first, first + count)]
    others = sorted(set(header) - {*wanted, _LABEL})
    if others or not all(name in at for name in wanted) or len(at) != len(header):
        odd = others[0] if others else next((name for name in wanted if name not in at), "one of them twice")
        raise DataError(f"{path}, line 1: columns {wanted[0]} ... {wanted[-1]} are needed, each once: see {odd!r}")
    return [at[name] for name in wanted]


def _values(path: Path, lines: list[tuple[int, str]], delimiter: str, columns: int) -> NDArray[np.int16]:
    """(n, columns): whole numbers from 0 to 255. Raises DataError naming the line."""
    plain = [line for _, line in lines]
    try:
        table = np.loadtxt(plain, np.int16, comments=None, delimiter=delimiter, ndmin=2, quotechar='"')
        if table.shape == (len(lines), columns) and table.min() >= 0 and table.max() <= 255:
            return table
    except (ValueError, OverflowError):
        pass  # which line it was is found below
    for number, line in lines:
        fields = [field.strip().strip('"') for field in line.split(delimiter)]
        if len(fields) != columns or not all(f.isascii() and f.isdecimal() and int(f) <= 255 for f in fields):
            odd = next((f for f in fields if not (f.isascii() and f.isdecimal() and int(f) <= 255)), "")
            shown = f", not {odd[:40]!r}" if odd else f", not {len(fields)}"
            raise DataError(f"{path}, line {number}: {columns} whole numbers from 0 to 255 are needed{shown}")
    raise DataError(f"{path} is no table of {columns} columns")


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
