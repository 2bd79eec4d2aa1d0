"""Augmentations of uint8 images, one image after another: the definition. reference/warp.py has the others.

Every function has the form (images, words, arguments ..., out). `images` is (n, h, w, c) uint8, C order. `out` has the
same shape unless the function says otherwise, must not overlap `images`, and is overwritten. `words` is (n, 4) uint32:
each image's draws from the operation's own Philox domain. All arithmetic is on integers, with `>>` rounding down, so
every CPU gives the same bits.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.normal import BITS, QUANTILES
from dptrain.kernels.reference.philox import bounded, keyed
from dptrain.types import I64, U8, U32

ONE = 4096  #: a contrast factor of 1


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


def reflect(images: U8, words: U32, pad: int, out: U8) -> None:
    """Moves an image by up to `pad` pixels down or up and to either side, each place equally likely. Beyond an edge are
    the pixels before it, mirrored, without the edge itself (as "reflect" of np.pad). pad < h, w.
    """
    _, h, w, _ = images.shape
    for i, image in enumerate(images):
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
        top, left = (bounded(int(word), 2 * pad + 1) for word in words[i, :2])
        out[i] = padded[top : top + h, left : left + w]


def flip_vertical(images: U8, words: U32, out: U8) -> None:
    """Turns an image upside down where the top bit of its first word is set: p = 1/2."""
    for i, image in enumerate(images):
        out[i] = image[::-1] if words[i, 0] >= 2**31 else image


def cutout(images: U8, words: U32, side: int, fill: int, out: U8) -> None:
    """Fills a square in each image. Its middle is any pixel, equally likely, so it may reach over the edge.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017, 3.1.
    """
    _, h, w, _ = images.shape
    for i, image in enumerate(images):
        top, left = (bounded(int(word), size) - side // 2 for word, size in zip(words[i], (h, w), strict=False))
        out[i] = image
        out[i, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = fill


def contrast(images: U8, words: U32, percent: int, out: U8) -> None:
    """Multiplies the distance of all values from the image's own mean by a factor in 1 +- percent / 100.

    The factors are the multiples of 1/4096 in there, equally likely; the mean is rounded to a whole number.
    """
    span = (percent * ONE + 50) // 100
    for i, image in enumerate(images):
        mean = (2 * int(image.sum(dtype=np.int64)) + image.size) // (2 * image.size)
        factor = ONE - span + bounded(int(words[i, 0]), 2 * span + 1)
        out[i] = np.clip(mean + ((factor * (image.astype(np.int64) - mean) + ONE // 2) >> 12), 0, 255)


def tint(images: U8, words: U32, amount: int, out: U8) -> None:
    """Adds a whole number to each channel, each of -amount ... amount equally likely. At most 4 channels."""
    for i, image in enumerate(images):
        offsets = [bounded(int(word), 2 * amount + 1) - amount for word in words[i, : image.shape[-1]]]
        out[i] = np.clip(image.astype(np.int64) + offsets, 0, 255)


def shift(images: U8, words: U32, matrix: I64, out: U8) -> None:
    """Adds matrix @ z to every pixel of an image, z three normal deviates. matrix: (3, 3), in units of 2^-16."""
    for i, image in enumerate(images):
        z = QUANTILES[words[i, :3] >> (32 - BITS)].astype(np.int64)
        offsets = ((matrix * z).sum(axis=1) + (1 << (15 + BITS))) >> (16 + BITS)
        out[i] = np.clip(image.astype(np.int64) + offsets, 0, 255)


def noise(images: U8, words: U32, strengths: tuple[int, int, int], out: U8) -> None:
    """Adds one of three kinds of noise to each image, equally likely among those whose strength is not 0.

    strengths: salt-and-pepper, the percentage of values that become 0 or 255, both equally often; gaussian, the
    standard deviation that is added; speckle, the standard deviation as a percentage of the value itself.
    The first two words key a Philox stream; value j of an image, in C order, gets half j of it, low halves first.
    """
    salt, gaussian, speckle = strengths
    kinds = [kind for kind, strength in enumerate(strengths) if strength > 0]
    cut, share = 2 * ((salt * 2**15 + 50) // 100), (speckle * 2**16 + 50) // 100
    for i, image in enumerate(images):
        stream = keyed(int(words[i, 0]), int(words[i, 1]), (image.size + 1) // 2)
        draws = stream.astype("<u4").view("<u2")[: image.size].reshape(image.shape)
        x, z = image.astype(np.int64), QUANTILES[draws >> (16 - BITS)].astype(np.int64)
        match kinds[bounded(int(words[i, 2]), len(kinds))]:
            case 0:
                changed = np.where(draws < cut // 2, 0, np.where(draws < cut, 255, x))
            case 1:
                changed = x + ((gaussian * z + 2**11) >> 12)
            case _:
                changed = x + ((x * share * z + 2**27) >> 28)
        out[i] = np.clip(changed, 0, 255)
