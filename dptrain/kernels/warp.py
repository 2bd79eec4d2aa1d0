"""Rotation and elastic distortion of uint8 images, compiled. reference/warp.py says what each function means.

The tables of sines, cosines and Gaussian weights are whole numbers, made of + - * / in float64, one rounded operation
after another, without the C library. Warping calculates with integers only. So every CPU gives the same bits.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dptrain.kernels import elementary
from dptrain.kernels.compiled import kernel
from dptrain.kernels.philox import bounded, keyed
from dptrain.types import F64, I64, U8, U32

I32: TypeAlias = NDArray[np.int32]

STEPS = 16  #: angles per degree
TAPS = 13  #: of the Gaussian; the predecessors' kernel_dim
_PI = float.fromhex("0x1.921fb54442d18p+1")


def _series(x: F64, first: int) -> F64:
    """1 - x^2 / ((first + 1) (first + 2)) (1 - ...): the Taylor series of cos (first = 0) and of sin(x) / x (1).

    To x^40 by Horner; for |x| <= pi the rest is below 1e-25, and rounding errors are far below half of 2^-16.
    """
    y = np.ones_like(x)
    for k in range(first + 38, first - 1, -2):
        y = 1.0 - x * x / ((k + 1.0) * (k + 2.0)) * y
    return y


_RADIANS = np.arange(180 * STEPS + 1, dtype=np.float64) * (_PI / (180 * STEPS))
COSINES: I64 = np.rint(_series(_RADIANS, 0) * 65536).astype(np.int64)  #: of k / STEPS degrees, in units of 2^-16
SINES: I64 = np.rint(_RADIANS * _series(_RADIANS, 1) * 65536).astype(np.int64)


@cache
def gaussian(sigma: int) -> I64:
    """TAPS weights in units of 1/4096, symmetric, with sum 4096; sigma in pixels. Do not write to it: it is cached."""
    distance = np.arange(TAPS, dtype=np.float64) - TAPS // 2
    weights = elementary.exp(distance * distance / (-2.0 * sigma * sigma))
    total = 0.0
    for weight in weights.tolist():  # in this order
        total += weight
    whole: I64 = np.rint(weights * (4096.0 / total)).astype(np.int64)
    whole[TAPS // 2] += 4096 - int(whole.sum())
    return whole


@kernel
def _pixel(image: U8, place: tuple[np.int64, np.int64], fill: int, out: U8, at: int) -> None:
    """Writes the values at one place, in 1/256 pixels, to out[at, :], as `sample` does."""
    h, w, c = image.shape
    y, x = place
    row, column = y >> 8, x >> 8
    down, right = y & 255, x & 255
    w00, w01 = (256 - down) * (256 - right), (256 - down) * right
    w10, w11 = down * (256 - right), down * right
    if 0 <= row < h - 1 and 0 <= column < w - 1:
        for k in range(c):
            above = w00 * image[row, column, k] + w01 * image[row, column + 1, k]
            below = w10 * image[row + 1, column, k] + w11 * image[row + 1, column + 1, k]
            out[at, k] = (above + below + (1 << 15)) >> 16
        return
    top, bottom = 0 <= row < h, -1 <= row < h - 1
    left, far = 0 <= column < w, -1 <= column < w - 1
    for k in range(c):
        total = np.int64(1 << 15)
        total += w00 * (np.int64(image[row, column, k]) if top and left else fill)
        total += w01 * (np.int64(image[row, column + 1, k]) if top and far else fill)
        total += w10 * (np.int64(image[row + 1, column, k]) if bottom and left else fill)
        total += w11 * (np.int64(image[row + 1, column + 1, k]) if bottom and far else fill)
        out[at, k] = total >> 16


@kernel
def sample(image: U8, y: I64, x: I64, fill: int) -> U8:
    """The values at (y, x), in 1/256 pixels, by bilinear interpolation. Outside the image the value is `fill`."""
    out = np.empty((y.size, image.shape[2]), np.uint8)
    for at in range(y.size):
        _pixel(image, (y.flat[at], x.flat[at]), fill, out, at)
    return out.reshape(y.shape[0], y.shape[1], image.shape[2])


@kernel
def rotate(images: U8, words: U32, limit: int, fill: int, out: U8) -> None:
    """Turns an image about its middle by -limit ... limit degrees, in steps of 1/16; + is anticlockwise."""
    n, h, w, c = images.shape
    target = out.reshape(n, h * w, c)
    for i in range(n):
        angle = bounded(words[i, 0], 2 * STEPS * limit + 1) - STEPS * limit
        cosine, sine = COSINES[abs(angle)], SINES[abs(angle)]
        if angle < 0:
            sine = -sine
        image, pixels = images[i], target[i]
        for p in range(h):
            dy = 2 * p - (h - 1)
            y0 = ((h - 1) << 16) + cosine * dy + 256
            x0 = ((w - 1) << 16) - sine * dy + 256
            for q in range(w):
                dx = 2 * q - (w - 1)
                _pixel(image, ((y0 + sine * dx) >> 9, (x0 + cosine * dx) >> 9), fill, pixels, p * w + q)


@kernel
def elastic(images: U8, words: U32, alpha: int, weights: I64, fill: int, out: U8) -> None:
    """Moves each pixel by alpha times a smoothed random field. weights: those of `gaussian(sigma)`."""
    n, h, w, c = images.shape
    target = out.reshape(n, h * w, c)
    height, width = h + TAPS - 1, w + TAPS - 1
    field = np.empty((2 * height * width + 3) // 4 * 4, np.int32)
    planes = field[: 2 * height * width].reshape(2, height, width)
    taps = weights.astype(np.int32)
    for i in range(n):
        _trits(keyed(words[i, 0], words[i, 1], field.size // 4), field)
        down = _smooth(planes[0], taps, h, w)
        right = _smooth(planes[1], taps, h, w)
        image, pixels = images[i], target[i]
        for p in range(h):
            for q in range(w):
                y = (p << 8) + ((alpha * np.int64(down[p, q]) + (1 << 15)) >> 16)
                x = (q << 8) + ((alpha * np.int64(right[p, q]) + (1 << 15)) >> 16)
                _pixel(image, (y, x), fill, pixels, p * w + q)


@kernel
def _trits(words: U32, field: I32) -> None:
    """-1, 0 and 1 from the bytes of the words, lowest byte first."""
    for j in range(words.size):
        word = words[j]
        for s in range(4):
            byte = np.int32(word >> np.uint32(8 * s)) & 255
            field[4 * j + s] = (1 if byte > 170 else 0) - (1 if byte < 85 else 0)


@kernel
def _smooth(field: I32, taps: I32, h: int, w: int) -> I32:
    """The taps along x, then along y: (h + TAPS - 1, w + TAPS - 1) -> (h, w). Sums of whole numbers: any order."""
    rows = np.zeros((field.shape[0], w), np.int32)
    for p in range(field.shape[0]):
        for t in range(TAPS):
            tap = taps[t]
            for q in range(w):
                rows[p, q] += tap * field[p, q + t]
    out = np.zeros((h, w), np.int32)
    for p in range(h):
        for t in range(TAPS):
            tap = taps[t]
            for q in range(w):
                out[p, q] += tap * rows[p + t, q]
    return out
