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
    """Pads by `pad` pixels of value `fill` on all sides and cuts the size of `out` (n, h', w', c) out of it."""
    n, h, w, c = images.shape
    height, width = out.shape[1], out.shape[2]
    rows, target = images.reshape(n, h, w * c), out.reshape(n, height, width * c)
    for i in range(n):
        down = bounded(words[i, 0], h + 2 * pad - height + 1) - pad
        right = bounded(words[i, 1], w + 2 * pad - width + 1) - pad
        # bytes of a row that come from the image
        first, last = min(width, max(0, -right)) * c, max(0, min(width, w - right)) * c
        for y in range(height):
            if 0 <= y + down < h and first < last:
                target[i, y, :first] = fill
                target[i, y, first:last] = rows[i, y + down, first + right * c : last + right * c]
                target[i, y, last:] = fill
            else:
                target[i, y] = fill


@kernel
def flip_vertical(images: U8, words: U32, out: U8) -> None:
    """Turns an image upside down where the top bit of its first word is set: p = 1/2."""
    n, h, w, c = images.shape
    rows, target = images.reshape(n, h, w * c), out.reshape(n, h, w * c)
    for i in range(n):
        turned = words[i, 0] >= _TOP_BIT
        for y in range(h):
            target[i, y] = rows[i, h - 1 - y if turned else y]


@kernel
def cutout(images: U8, words: U32, side: int, fill: int, out: U8) -> None:
    """Paints a square over each image; its middle is any pixel, equally likely, so it may hang over the edge."""
    n, h, w, c = images.shape
    flat, target = images.reshape(n, h * w * c), out.reshape(n, h * w * c)
    for i in range(n):
        target[i] = flat[i]
        top = bounded(words[i, 0], h) - side // 2
        left = bounded(words[i, 1], w) - side // 2
        for y in range(max(0, top), min(h, top + side)):
            first = (y * w + max(0, left)) * c
            target[i, first : (y * w + max(0, min(w, left + side))) * c] = fill
