"""Arrays that begin on a cache line: a 64-byte vector load must not straddle two."""

from __future__ import annotations

from math import prod

import numpy as np

from dptrain.types import F32

LINE = 64


def empty(shape: tuple[int, ...]) -> F32:
    """Uninitialised float32 array of `shape`, C order, first element on a 64-byte boundary."""
    size = 4 * prod(shape)
    raw = np.empty(size + LINE, np.uint8)
    at = -raw.ctypes.data % LINE
    return raw[at : at + size].view(np.float32).reshape(shape)


def zeros(shape: tuple[int, ...]) -> F32:
    """As `empty`, filled with zeros."""
    out = empty(shape)
    out.fill(0)
    return out
