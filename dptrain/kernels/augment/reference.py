"""Augmentations of uint8 images in NumPy, one image after the other: the definition of correct.

Every function has the form (images, words, arguments ..., out). images and out: (n, h, w, c) uint8, C order, not
overlapping; words: (n, 4) uint32, each image's draws from the operation's own Philox domain. `out` is overwritten.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.philox.reference import bounded
from dptrain.types import U8, U32


def flip(images: U8, words: U32, out: U8) -> None:
    """Mirrors an image left to right where the top bit of its first word is set: p = 1/2."""
    for i, image in enumerate(images):
        out[i] = image[:, ::-1] if words[i, 0] >= 2**31 else image


def crop(images: U8, words: U32, pad: int, fill: int, out: U8) -> None:
    """Pads by `pad` pixels of value `fill` on all sides and cuts the old size out of it.

    Top and left edge are drawn from 0 .. 2 * pad, both ends included, each equally likely.
    """
    _, h, w, _ = images.shape
    for i, image in enumerate(images):
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), constant_values=fill)
        top, left = (bounded(int(word), 2 * pad + 1) for word in words[i, :2])
        out[i] = padded[top : top + h, left : left + w]
