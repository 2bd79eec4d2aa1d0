"""Rotation and elastic distortion of uint8 images, one image after another: the definition.

Every function has the form (images, words, arguments ..., out) that reference/augment.py describes. The place an output
pixel comes from is a whole number of 1/256 pixels, so every CPU gives the same bits.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.reference.philox import bounded, keyed
from dptrain.kernels.warp import COSINES, SINES, STEPS, TAPS
from dptrain.types import I64, U8, U32


def sample(image: U8, y: I64, x: I64, fill: int) -> U8:
    """The values at (y, x), in 1/256 pixels, by bilinear interpolation. Outside the image the value is `fill`."""
    h, w, _ = image.shape
    out = np.full((*y.shape, image.shape[2]), 1 << 15, np.int64)
    for down in (0, 1):
        for right in (0, 1):
            row, column = (y >> 8) + down, (x >> 8) + right
            inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
            nearest = image[row.clip(0, h - 1), column.clip(0, w - 1)].astype(np.int64)
            corner = np.where(inside[..., None], nearest, fill)
            weight = np.where(down, y & 255, 256 - (y & 255)) * np.where(right, x & 255, 256 - (x & 255))
            out += corner * weight[..., None]
    return (out >> 16).astype(np.uint8)


def rotate(images: U8, words: U32, limit: int, fill: int, out: U8) -> None:
    """Turns an image about its middle by -limit ... limit degrees, in steps of 1/16; + is anticlockwise.

    All these angles are equally likely.
    """
    _, h, w, _ = images.shape
    dy, dx = (2 * a - (size - 1) for a, size in zip(np.mgrid[:h, :w].astype(np.int64), (h, w), strict=True))
    for i, image in enumerate(images):
        angle = bounded(int(words[i, 0]), 2 * STEPS * limit + 1) - STEPS * limit
        cosine, sine = COSINES[abs(angle)], SINES[abs(angle)] * (-1 if angle < 0 else 1)
        y = (((h - 1) << 16) + cosine * dy + sine * dx + 256) >> 9  # halves of pixels in 2^-16 -> 1/256 pixels
        x = (((w - 1) << 16) + cosine * dx - sine * dy + 256) >> 9
        out[i] = sample(image, y, x, fill)


def elastic(images: U8, words: U32, alpha: int, weights: I64, fill: int, out: U8) -> None:
    """Moves each pixel by alpha times a smoothed random field. weights: those of `gaussian(sigma)`.

    The field, larger than the image by TAPS // 2 on every side, is -1, 0 or 1 (85, 86 and 85 of the 256 values of a
    byte; the first two words key the stream), one for y and one for x, and is smoothed along x, then along y.
    Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks", ICDAR 2003, section 2.
    """
    _, h, w, _ = images.shape
    height, width = h + TAPS - 1, w + TAPS - 1
    y, x = np.mgrid[:h, :w].astype(np.int64) << 8
    for i, image in enumerate(images):
        noise = keyed(int(words[i, 0]), int(words[i, 1]), (2 * height * width + 3) // 4)
        draws = noise.astype("<u4").view(np.uint8)[: 2 * height * width].reshape(2, height, width)
        field = (draws > 170).astype(np.int64) - (draws < 85)
        rows = sum(weights[t] * field[:, :, t : t + w] for t in range(TAPS))
        smooth = sum(weights[t] * rows[:, t : t + h] for t in range(TAPS))
        moved = (alpha * smooth + (1 << 15)) >> 16
        out[i] = sample(image, y + moved[0], x + moved[1], fill)
