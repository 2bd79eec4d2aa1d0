"""Augmentations that move uint8 pixels as they are, in NumPy, one image after the other: the definition of correct.

Every function has the form (images, words, arguments ..., out). images: (n, h, w, c) uint8, C order; out: the same
unless said otherwise, not overlapping; words: (n, 4) uint32, each image's draws from the operation's own Philox
domain. `out` is overwritten.
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
    """Pads by `pad` pixels of value `fill` on all sides and cuts the size of `out` (n, h', w', c) out of it.

    Top and left edge are drawn from 0 .. h + 2 * pad - h', both ends included, each equally likely.
    """
    height, width = out.shape[1:3]
    for i, image in enumerate(images):
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), constant_values=fill)
        top = bounded(int(words[i, 0]), padded.shape[0] - height + 1)
        left = bounded(int(words[i, 1]), padded.shape[1] - width + 1)
        out[i] = padded[top : top + height, left : left + width]


def flip_vertical(images: U8, words: U32, out: U8) -> None:
    """Turns an image upside down where the top bit of its first word is set: p = 1/2."""
    for i, image in enumerate(images):
        out[i] = image[::-1] if words[i, 0] >= 2**31 else image


def cutout(images: U8, words: U32, side: int, fill: int, out: U8) -> None:
    """Paints a square over each image; its middle is any pixel, equally likely, so it may hang over the edge.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017, 3.1.
    """
    _, h, w, _ = images.shape
    for i, image in enumerate(images):
        top, left = (bounded(int(word), size) - side // 2 for word, size in zip(words[i], (h, w), strict=False))
        out[i] = image
        out[i, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = fill
