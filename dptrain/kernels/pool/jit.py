"""Pooling in Numba. Same names and arguments as reference.py, float32, C order.

global_average: four partial sums over the pixels p = 0, 1, 2, 3 (mod 4) of an image, joined as (0 + 1) + (2 + 3), and
divided once. average2: (upper left + upper right) + (lower left + lower right), times a quarter.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels import aligned
from dptrain.kernels._chains import add_pixels, joined
from dptrain.kernels._jit import kernel
from dptrain.types import F32


@kernel
def _global_average(x: F32, partial: F32, y: F32) -> None:
    n, pixels, channels = x.shape
    for i in range(n):
        add_pixels(x, i, partial)
        for c in range(channels):
            y[i, c] = joined(partial, c) / np.float32(pixels)


@kernel
def _global_average_gradient(dy: F32, dx: F32) -> None:
    n, pixels, channels = dx.shape
    for i in range(n):
        for p in range(pixels):
            for c in range(channels):
                dx[i, p, c] = dy[i, c] / np.float32(pixels)


@kernel
def _average2(x: F32, y: F32) -> None:
    n, height, width, channels = y.shape
    for i in range(n):
        for p in range(height):
            for q in range(width):
                for c in range(channels):
                    upper = x[i, 2 * p, 2 * q, c] + x[i, 2 * p, 2 * q + 1, c]
                    lower = x[i, 2 * p + 1, 2 * q, c] + x[i, 2 * p + 1, 2 * q + 1, c]
                    y[i, p, q, c] = (upper + lower) * np.float32(0.25)


@kernel
def _average2_gradient(dy: F32, dx: F32) -> None:
    n, height, width, channels = dx.shape
    for i in range(n):
        for p in range(height):
            for q in range(width):
                for c in range(channels):
                    dx[i, p, q, c] = dy[i, p // 2, q // 2, c] * np.float32(0.25)


def global_average(x: F32) -> F32:
    """(n, h, w, c) -> (n, c), the mean over an image."""
    n, h, w, c = x.shape
    y = aligned.empty((n, c))
    _global_average(x.reshape(n, h * w, c), aligned.empty((4, c)), y)
    return y


def global_average_gradient(dy: F32, size: tuple[int, int]) -> F32:
    """(n, c) -> (n, h, w, c) with (h, w) = size; a full array, never a broadcast view."""
    n, c = dy.shape
    dx = aligned.empty((n, *size, c))
    _global_average_gradient(dy, dx.reshape(n, size[0] * size[1], c))
    return dx


def average2(x: F32) -> F32:
    """(n, h, w, c) with even h, w -> (n, h/2, w/2, c), the mean of 2 x 2 pixels."""
    n, h, w, c = x.shape
    y = aligned.empty((n, h // 2, w // 2, c))
    _average2(x, y)
    return y


def average2_gradient(dy: F32) -> F32:
    """(n, p, q, c) -> (n, 2p, 2q, c)."""
    n, p, q, c = dy.shape
    dx = aligned.empty((n, 2 * p, 2 * q, c))
    _average2_gradient(dy, dx)
    return dx
