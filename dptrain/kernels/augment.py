"""Augmentations of uint8 images, compiled: mirror, crop, cutout, contrast, colour, noise. warp.py has the others.

reference/augment.py says what each function means. A row is handled as w * c bytes, so a crop copies one block per row.
Contrast and colour look a value up in a table of 256 that is made for each image.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import kernel
from dptrain.kernels.normal import BITS, QUANTILES
from dptrain.kernels.philox import bounded, keyed
from dptrain.kernels.reference.augment import ONE
from dptrain.types import I64, U8, U32

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
def _mirrored(at: int, size: int) -> int:
    """The place in 0 .. size - 1 of which `at` is the mirror image, if it lies outside."""
    return -at if at < 0 else 2 * (size - 1) - at if at >= size else at


@kernel
def reflect(images: U8, words: U32, pad: int, out: U8) -> None:
    """Moves an image by up to `pad` pixels down or up and to either side, each place equally likely. Beyond an edge are
    the pixels before it, mirrored, without the edge itself (as "reflect" of np.pad). pad < h, w.
    """
    n, h, w, c = images.shape
    for i in range(n):
        down, right = bounded(words[i, 0], 2 * pad + 1) - pad, bounded(words[i, 1], 2 * pad + 1) - pad
        for y in range(h):
            row = images[i, _mirrored(y + down, h)]
            for x in range(w):
                column = _mirrored(x + right, w)
                for k in range(c):
                    out[i, y, x, k] = row[column, k]


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
    """Fills a square in each image. Its middle is any pixel, equally likely, so it may reach over the edge."""
    n, h, w, c = images.shape
    flat, target = images.reshape(n, h * w * c), out.reshape(n, h * w * c)
    for i in range(n):
        target[i] = flat[i]
        top = bounded(words[i, 0], h) - side // 2
        left = bounded(words[i, 1], w) - side // 2
        for y in range(max(0, top), min(h, top + side)):
            first = (y * w + max(0, left)) * c
            target[i, first : (y * w + max(0, min(w, left + side))) * c] = fill


@kernel
def contrast(images: U8, words: U32, percent: int, out: U8) -> None:
    """Multiplies the distance of all values from the image's own mean by a factor in 1 +- percent / 100."""
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
    """Adds a whole number to each channel, each of -amount ... amount equally likely. At most 4 channels."""
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


@kernel
def noise(images: U8, words: U32, strengths: tuple[int, int, int], out: U8) -> None:
    """Adds one of three kinds of noise to each image, equally likely among those whose strength is not 0."""
    n, h, w, c = images.shape
    size = h * w * c
    flat, target = images.reshape(n, size), out.reshape(n, size)
    kinds = np.empty(3, np.int64)
    count = 0
    for kind in range(3):
        if strengths[kind] > 0:
            kinds[count] = kind
            count += 1
    cut, share = 2 * ((strengths[0] * 2**15 + 50) // 100), (strengths[2] * 2**16 + 50) // 100
    for i in range(n):
        draws = keyed(words[i, 0], words[i, 1], (size + 1) // 2)
        kind = kinds[bounded(words[i, 2], count)]
        if kind == 0:
            _salt(flat[i], draws, cut, target[i])
        elif kind == 1:
            _spread(flat[i], draws, (strengths[1], 0), target[i])
        else:
            _spread(flat[i], draws, (0, share), target[i])


@kernel
def _salt(x: U8, draws: U32, cut: int, out: U8) -> None:
    half = cut // 2
    for j in range(x.size):
        draw = (np.int64(draws[j >> 1]) >> (16 * (j & 1))) & 0xFFFF
        out[j] = 0 if draw < half else 255 if draw < cut else x[j]


@kernel
def _spread(x: U8, draws: U32, scales: tuple[int, int], out: U8) -> None:
    """Adds a normal deviate times (scales[0] + value * scales[1] / 2^16). One of the scales is 0."""
    for j in range(x.size):
        draw = (np.int64(draws[j >> 1]) >> (16 * (j & 1))) & 0xFFFF
        z = np.int64(QUANTILES[draw >> (16 - BITS)])
        value = np.int64(x[j])
        value += ((scales[0] * z + 2**11) >> 12) + ((value * scales[1] * z + 2**27) >> 28)
        out[j] = 0 if value < 0 else 255 if value > 255 else value
