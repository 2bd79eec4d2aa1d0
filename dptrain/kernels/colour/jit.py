"""Changes of contrast and colour in Numba; what each function means stands in reference.py.

A value's successor depends on the value (and its channel) alone, so it is looked up in a table of 256 made per image.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels._jit import kernel
from dptrain.kernels.colour.reference import ONE
from dptrain.kernels.philox.jit import bounded
from dptrain.kernels.philox.quantiles import BITS, QUANTILES
from dptrain.types import I64, U8, U32


@kernel
def contrast(images: U8, words: U32, percent: int, out: U8) -> None:
    """Stretches or squeezes all values about the image's own mean, by a factor in 1 +- percent / 100."""
    n, h, w, c = images.shape
    size = h * w * c
    flat, target = images.reshape(n, size), out.reshape(n, size)
    span = (percent * ONE + 50) // 100
    table = np.empty(256, np.uint8)
    for i in range(n):
        total = 0
        for j in range(size):
            total += flat[i, j]
        mean = (2 * total + size) // (2 * size)
        factor = ONE - span + bounded(words[i, 0], 2 * span + 1)
        for value in range(256):
            table[value] = min(255, max(0, mean + ((factor * (value - mean) + ONE // 2) >> 12)))
        for j in range(size):
            target[i, j] = table[flat[i, j]]


@kernel
def tint(images: U8, words: U32, amount: int, out: U8) -> None:
    """Adds to each channel a whole number in -amount ... amount, each equally likely. At most 4 channels."""
    n, _, _, c = images.shape
    offsets = np.empty(c, np.int64)
    for i in range(n):
        for k in range(c):
            offsets[k] = bounded(words[i, k], 2 * amount + 1) - amount
        _add(images[i], offsets, out[i])


@kernel
def shift(images: U8, words: U32, matrix: I64, out: U8) -> None:
    """Adds matrix @ z to every pixel of an image, z three normal deviates. matrix: (3, 3), in units of 2^-16."""
    offsets = np.empty(3, np.int64)
    for i in range(images.shape[0]):
        for k in range(3):
            total = np.int64(1) << (15 + BITS)
            for j in range(3):
                total += matrix[k, j] * np.int64(QUANTILES[words[i, j] >> np.uint32(32 - BITS)])
            offsets[k] = total >> (16 + BITS)
        _add(images[i], offsets, out[i])


@kernel
def _add(image: U8, offsets: I64, out: U8) -> None:
    h, w, c = image.shape
    table = np.empty((c, 256), np.uint8)
    for k in range(c):
        for value in range(256):
            table[k, value] = min(255, max(0, value + offsets[k]))
    for y in range(h):
        for x in range(w):
            for k in range(c):
                out[y, x, k] = table[k, image[y, x, k]]
