"""Pooling over any windows in Numba. Same names and arguments as reference.py, float32, C order.

Order of additions, one float32 rounding each: average: a window's pixels row by row from zero, divided once;
gradients: the windows of an image row by row.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels import aligned
from dptrain.kernels._jit import kernel
from dptrain.kernels.window.plan import Window
from dptrain.types import F32, I64


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


def maximum(x: F32, window: Window) -> tuple[F32, I64]:
    """-> (y (n, p, q, c), place (n, p, q, c): row * width + column of the first largest pixel). NaN is the largest."""
    y = aligned.empty((x.shape[0], *window.outputs(x.shape[1], x.shape[2]), x.shape[3]))
    place = np.empty(y.shape, np.int64)
    _maximum(x, _numbers(window), y, place)
    return y, place


def maximum_gradient(dy: F32, place: I64, size: tuple[int, int]) -> F32:
    """-> (n, h, w, c) with (h, w) = size: dy at the places, added up where windows overlap."""
    n, _, _, c = dy.shape
    dx = aligned.zeros((n, size[0] * size[1], c))
    _maximum_gradient(dy, place, dx)
    return dx.reshape(n, *size, c)


def average(x: F32, window: Window) -> F32:
    """-> (n, p, q, c); the frame counts as zeros, see Window.count_pad."""
    y = aligned.empty((x.shape[0], *window.outputs(x.shape[1], x.shape[2]), x.shape[3]))
    _average(x, _numbers(window), y)
    return y


def average_gradient(dy: F32, window: Window, size: tuple[int, int]) -> F32:
    """-> (n, h, w, c) with (h, w) = size; a full array, never a broadcast view."""
    dx = aligned.zeros((dy.shape[0], *size, dy.shape[3]))
    _average_gradient(dy, _numbers(window), dx)
    return dx
