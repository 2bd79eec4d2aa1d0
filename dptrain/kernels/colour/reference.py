"""Changes of contrast and colour in NumPy, one image after the other: the definition of correct.

Every function has the form (images, words, arguments ..., out) of augment/reference.py. All of it is integer
arithmetic, `>>` rounding down, so every CPU has the same bits.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.philox.quantiles import BITS, QUANTILES
from dptrain.kernels.philox.reference import bounded
from dptrain.types import I64, U8, U32

ONE = 4096  #: a factor of 1


def contrast(images: U8, words: U32, percent: int, out: U8) -> None:
    """Stretches or squeezes all values about the image's own mean, by a factor in 1 +- percent / 100.

    The factors are the multiples of 1/4096 in there, equally likely; the mean is rounded to a whole number.
    """
    span = (percent * ONE + 50) // 100
    for i, image in enumerate(images):
        mean = (2 * int(image.sum(dtype=np.int64)) + image.size) // (2 * image.size)
        factor = ONE - span + bounded(int(words[i, 0]), 2 * span + 1)
        out[i] = np.clip(mean + ((factor * (image.astype(np.int64) - mean) + ONE // 2) >> 12), 0, 255)


def tint(images: U8, words: U32, amount: int, out: U8) -> None:
    """Adds to each channel a whole number in -amount ... amount, each equally likely. At most 4 channels."""
    for i, image in enumerate(images):
        offsets = [bounded(int(word), 2 * amount + 1) - amount for word in words[i, : image.shape[-1]]]
        out[i] = np.clip(image.astype(np.int64) + offsets, 0, 255)


def shift(images: U8, words: U32, matrix: I64, out: U8) -> None:
    """Adds matrix @ z to every pixel of an image, z three normal deviates. matrix: (3, 3), in units of 2^-16."""
    for i, image in enumerate(images):
        z = QUANTILES[words[i, :3] >> (32 - BITS)].astype(np.int64)
        offsets = ((matrix * z).sum(axis=1) + (1 << (15 + BITS))) >> (16 + BITS)
        out[i] = np.clip(image.astype(np.int64) + offsets, 0, 255)
