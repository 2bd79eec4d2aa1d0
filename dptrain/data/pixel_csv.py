"""Kaggle's digit-recognizer test.csv: 784 values a line and no label. With labels: mnist_csv.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dptrain.errors import DataError
from dptrain.types import U8

_MOST_BYTES = 512 << 20


def read_pixels(path: Path, shape: tuple[int, int, int]) -> U8:
    """(n, h, w, c): the images of a table with h * w * c columns under a head. Raises DataError naming the line."""
    height, width, channels = shape
    columns = height * width * channels
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are read")
        head, *lines = path.read_text(encoding="ascii").splitlines()
        if head.count(",") + 1 != columns:
            raise DataError(f"{path} has {head.count(',') + 1} columns; the network's images have {columns} values")
        if not lines:
            raise DataError(f"{path} has a head, but no image")
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
