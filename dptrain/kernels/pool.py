"""Pooling, compiled for float32 arrays in C order: global average, 2 x 2 average, and windows of any form.

Order of additions, one float32 rounding each:
global_average: the pixels as in norm.add_pixels, then one division;
average2: (upper left + upper right) + (lower left + lower right), times a quarter;
average: the pixels of a window row by row from zero, then one division;
maximum_gradient, average_gradient: the windows of an image row by row.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import aligned_empty, aligned_zeros, kernel, twin
from dptrain.kernels.norm import add_pixels, joined
from dptrain.kernels.reference import pool as reference
from dptrain.kernels.reference.pool import Window
from dptrain.types import F32, I64

__all__ = [
    "Window",
    "average",
    "average2",
    "average2_gradient",
    "average_gradient",
    "global_average",
    "global_average_gradient",
    "maximum",
    "maximum_gradient",
]


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


@twin(reference.global_average)
def global_average(x: F32) -> F32:
    """(n, h, w, c) -> (n, c), the mean over an image."""
    n, h, w, c = x.shape
    y = aligned_empty((n, c))
    _global_average(x.reshape(n, h * w, c), aligned_empty((4, c)), y)
    return y


@twin(reference.global_average_gradient)
def global_average_gradient(dy: F32, size: tuple[int, int]) -> F32:
    """(n, c) -> (n, h, w, c) with (h, w) = size; a full array, never a broadcast view."""
    n, c = dy.shape
    dx = aligned_empty((n, *size, c))
    _global_average_gradient(dy, dx.reshape(n, size[0] * size[1], c))
    return dx


@twin(reference.average2)
def average2(x: F32) -> F32:
    """(n, h, w, c) with even h, w -> (n, h/2, w/2, c), the mean of 2 x 2 pixels."""
    n, h, w, c = x.shape
    y = aligned_empty((n, h // 2, w // 2, c))
    _average2(x, y)
    return y


@twin(reference.average2_gradient)
def average2_gradient(dy: F32) -> F32:
    """(n, p, q, c) -> (n, 2p, 2q, c)."""
    n, p, q, c = dy.shape
    dx = aligned_empty((n, 2 * p, 2 * q, c))
    _average2_gradient(dy, dx)
    return dx


@kernel
def _maximum(x: F32, g: I64, y: F32, place: I64) -> None:
    n, rows, columns, channels = y.shape
    height, width = x.shape[1], x.shape[2]
    for i in range(n):
        for p in range(rows):
            top = p * g[2] - g[4]
            for q in range(columns):
                left = q * g[3] - g[5]
                for c in range(channels):
                    best, at = np.float32(0), -1
                    for h in range(max(top, 0), min(top + g[0], height)):
                        for w in range(max(left, 0), min(left + g[1], width)):
                            v = x[i, h, w, c]
                            if at < 0 or (not v <= best and best == best):  # the first NaN is kept
                                best, at = v, h * width + w
                    y[i, p, q, c] = best
                    place[i, p, q, c] = at


@kernel
def _maximum_gradient(dy: F32, place: I64, dx: F32) -> None:
    n, rows, columns, channels = dy.shape
    for i in range(n):
        for p in range(rows):
            for q in range(columns):
                for c in range(channels):
                    dx[i, place[i, p, q, c], c] += dy[i, p, q, c]


@kernel
def _count(g: I64, top: int, left: int, height: int, width: int) -> int:
    if g[6]:
        return (min(top + g[0], height + g[4]) - top) * (min(left + g[1], width + g[5]) - left)  # type: ignore[no-any-return]  # int in Numba
    return (min(top + g[0], height) - max(top, 0)) * (min(left + g[1], width) - max(left, 0))  # type: ignore[no-any-return]  # int in Numba


@kernel
def _average(x: F32, g: I64, y: F32) -> None:
    n, rows, columns, channels = y.shape
    height, width = x.shape[1], x.shape[2]
    for i in range(n):
        for p in range(rows):
            top = p * g[2] - g[4]
            for q in range(columns):
                left = q * g[3] - g[5]
                count = np.float32(_count(g, top, left, height, width))
                for c in range(channels):
                    total = np.float32(0)
                    for h in range(max(top, 0), min(top + g[0], height)):
                        for w in range(max(left, 0), min(left + g[1], width)):
                            total += x[i, h, w, c]
                    y[i, p, q, c] = total / count


@kernel
def _average_gradient(dy: F32, g: I64, dx: F32) -> None:
    n, rows, columns, channels = dy.shape
    height, width = dx.shape[1], dx.shape[2]
    for i in range(n):
        for p in range(rows):
            top = p * g[2] - g[4]
            for q in range(columns):
                left = q * g[3] - g[5]
                count = np.float32(_count(g, top, left, height, width))
                for h in range(max(top, 0), min(top + g[0], height)):
                    for w in range(max(left, 0), min(left + g[1], width)):
                        for c in range(channels):
                            dx[i, h, w, c] += dy[i, p, q, c] / count


def _numbers(window: Window) -> I64:
    return np.array([*window.size, *window.stride, *window.pad, window.count_pad], np.int64)


@twin(reference.maximum)
def maximum(x: F32, window: Window) -> tuple[F32, I64]:
    """-> (y (n, p, q, c), place (n, p, q, c): row * width + column of the first largest pixel). NaN is the largest."""
    y = aligned_empty((x.shape[0], *window.outputs(x.shape[1], x.shape[2]), x.shape[3]))
    place = np.empty(y.shape, np.int64)
    _maximum(x, _numbers(window), y, place)
    return y, place


@twin(reference.maximum_gradient)
def maximum_gradient(dy: F32, place: I64, size: tuple[int, int]) -> F32:
    """-> (n, h, w, c) with (h, w) = size: dy at the places, added up where windows overlap."""
    n, _, _, c = dy.shape
    dx = aligned_zeros((n, size[0] * size[1], c))
    _maximum_gradient(dy, place, dx)
    return dx.reshape(n, *size, c)


@twin(reference.average)
def average(x: F32, window: Window) -> F32:
    """-> (n, p, q, c); the frame counts as zeros, see Window.count_pad."""
    y = aligned_empty((x.shape[0], *window.outputs(x.shape[1], x.shape[2]), x.shape[3]))
    _average(x, _numbers(window), y)
    return y


@twin(reference.average_gradient)
def average_gradient(dy: F32, window: Window, size: tuple[int, int]) -> F32:
    """-> (n, h, w, c) with (h, w) = size; a full array, never a broadcast view."""
    dx = aligned_zeros((dy.shape[0], *size, dy.shape[3]))
    _average_gradient(dy, _numbers(window), dx)
    return dx
