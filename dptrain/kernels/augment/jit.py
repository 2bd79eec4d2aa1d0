"""Augmentations of uint8 images in Numba; what each function means stands in reference.py.

Rows are handled as w * c bytes, so that a crop is one copy a row.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels._jit import kernel
from dptrain.kernels.philox.jit import bounded
from dptrain.types import U8, U32

_TOP_BIT = np.uint32(2**31)


@kernel
def flip(images: U8, words: U32, out: U8) -> None:
    """Mirrors an image left to right where the top bit of its first word is set: p = 1/2."""
    n, h, w, c = images.shape
    rows, target = images.reshape(n, h, w * c), out.reshape(n, h, w * c)
    for i in range(n):
        if words[i, 0] < _TOP_BIT:
            target[i] = rows[i]
            continue
        for y in range(h):
            for x in range(w):
                for k in range(c):
                    target[i, y, x * c + k] = rows[i, y, (w - 1 - x) * c + k]


@kernel
def crop(images: U8, words: U32, pad: int, fill: int, out: U8) -> None:
    """Pads by `pad` pixels of value `fill` on all sides and cuts the old size out of it."""
    n, h, w, c = images.shape
    rows, target = images.reshape(n, h, w * c), out.reshape(n, h, w * c)
    for i in range(n):
        down = bounded(words[i, 0], 2 * pad + 1) - pad
        right = bounded(words[i, 1], 2 * pad + 1) - pad
        first, last = max(0, -right) * c, max(0, min(w, w - right)) * c  # bytes of a row that come from the image
        for y in range(h):
            if 0 <= y + down < h and first < last:
                target[i, y, :first] = fill
                target[i, y, first:last] = rows[i, y + down, first + right * c : last + right * c]
                target[i, y, last:] = fill
            else:
                target[i, y] = fill
