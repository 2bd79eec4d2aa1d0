"""Pooling, global averages and halving shortcuts for activations that lie anywhere in memory; operands as in rows.py.

p[ROWS] and p[LENGTH] are rows, and elements of a row, of the small image y. `w` has the numbers of the window: size,
stride and pad, (rows, columns) each, then whether the frame counts in a mean, then height, width and channels of the
large image x. The bits are those of kernels/pool.py and nn/resnet.py.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import kernel
from dptrain.kernels.fused.rows import LENGTH, ROWS, _add, _at, _step
from dptrain.types import F32, I64, U8


@kernel
def maximum(x: F32, y: F32, place: U8, p: I64, w: I64, first: int, count: int) -> None:
    """y = the largest pixel of each window; place: its number in the window. Operands: x, y, place."""
    height, width, c = w[7], w[8], w[9]
    for i in range(count):
        x_at, y_at, p_at = _at(p, 0, first, i), _at(p, 1, first, i), _at(p, 2, first, i)
        for r in range(p[ROWS]):
            top = r * w[2] - w[4]
            for q in range(p[LENGTH] // c):
                left = q * w[3] - w[5]
                ys, places = y[y_at + q * c : y_at + q * c + c], place[p_at + q * c : p_at + q * c + c]
                fresh = True
                for h in range(max(top, 0), min(top + w[0], height)):
                    for v in range(max(left, 0), min(left + w[1], width)):
                        at, number = x_at + h * _step(p, 0) + v * c, np.uint8((h - top) * w[1] + v - left)
                        xs = x[at : at + c]
                        if fresh:
                            for j in range(c):
                                ys[j], places[j] = xs[j], number
                        else:
                            for j in range(c):
                                larger = (not xs[j] <= ys[j]) and ys[j] == ys[j]  # the first NaN is kept
                                ys[j] = xs[j] if larger else ys[j]
                                places[j] = number if larger else places[j]
                        fresh = False
            y_at, p_at = y_at + _step(p, 1), p_at + _step(p, 2)


@kernel
def maximum_gradient(dx: F32, dy: F32, place: U8, p: I64, w: I64, first: int, count: int) -> None:
    """dx = dy at the places, added up where windows overlap. Operands: dx, dy, place."""
    height, width, c = w[7], w[8], w[9]
    for i in range(count):
        x_at, y_at, p_at = _at(p, 0, first, i), _at(p, 1, first, i), _at(p, 2, first, i)
        for h in range(height):
            dx[x_at + h * _step(p, 0) : x_at + h * _step(p, 0) + width * c] = 0
        for r in range(p[ROWS]):
            top = r * w[2] - w[4]
            for q in range(p[LENGTH] // c):
                left = q * w[3] - w[5]
                ys, places = dy[y_at + q * c : y_at + q * c + c], place[p_at + q * c : p_at + q * c + c]
                for h in range(max(top, 0), min(top + w[0], height)):
                    for v in range(max(left, 0), min(left + w[1], width)):
                        at, number = x_at + h * _step(p, 0) + v * c, np.uint8((h - top) * w[1] + v - left)
                        xs = dx[at : at + c]
                        for j in range(c):
                            xs[j] += ys[j] if places[j] == number else np.float32(0)
            y_at, p_at = y_at + _step(p, 1), p_at + _step(p, 2)


@kernel
def _pixels(w: I64, top: int, left: int) -> np.float32:
    """The number by which the sum over a window is divided."""
    if w[6]:
        rows, columns = min(top + w[0], w[7] + w[4]) - top, min(left + w[1], w[8] + w[5]) - left
    else:
        rows, columns = min(top + w[0], w[7]) - max(top, 0), min(left + w[1], w[8]) - max(left, 0)
    return np.float32(rows * columns)


@kernel
def average(x: F32, y: F32, p: I64, w: I64, first: int, count: int) -> None:
    """y = the mean of each window. Operands: x, y."""
    height, width, c = w[7], w[8], w[9]
    for i in range(count):
        x_at, y_at = _at(p, 0, first, i), _at(p, 1, first, i)
        for r in range(p[ROWS]):
            top = r * w[2] - w[4]
            for q in range(p[LENGTH] // c):
                left = q * w[3] - w[5]
                ys, pixels = y[y_at + q * c : y_at + q * c + c], _pixels(w, top, left)
                ys[:] = 0
                for h in range(max(top, 0), min(top + w[0], height)):
                    for v in range(max(left, 0), min(left + w[1], width)):
                        at = x_at + h * _step(p, 0) + v * c
                        xs = x[at : at + c]
                        for j in range(c):
                            ys[j] += xs[j]
                for j in range(c):
                    ys[j] = ys[j] / pixels
            y_at += _step(p, 1)


@kernel
def average_gradient(dx: F32, dy: F32, p: I64, w: I64, first: int, count: int) -> None:
    """dx = dy divided among the pixels of each window. Operands: dx, dy."""
    height, width, c = w[7], w[8], w[9]
    for i in range(count):
        x_at, y_at = _at(p, 0, first, i), _at(p, 1, first, i)
        for h in range(height):
            dx[x_at + h * _step(p, 0) : x_at + h * _step(p, 0) + width * c] = 0
        for r in range(p[ROWS]):
            top = r * w[2] - w[4]
            for q in range(p[LENGTH] // c):
                left = q * w[3] - w[5]
                ys, pixels = dy[y_at + q * c : y_at + q * c + c], _pixels(w, top, left)
                for h in range(max(top, 0), min(top + w[0], height)):
                    for v in range(max(left, 0), min(left + w[1], width)):
                        at = x_at + h * _step(p, 0) + v * c
                        xs = dx[at : at + c]
                        for j in range(c):
                            xs[j] += ys[j] / pixels
            y_at += _step(p, 1)


@kernel
def image_mean(x: F32, y: F32, chains: F32, p: I64, first: int, count: int) -> None:
    """y (c,) = the mean over all pixels of an image. Here p has rows and row length of x. Operands: x, y."""
    c, length = len(chains) // 4, p[LENGTH]
    pixels = np.float32(p[ROWS] * length // c)
    for i in range(count):
        x_at, y_at, k = _at(p, 0, first, i), _at(p, 1, first, i), 0
        chains[:] = 0
        for _ in range(p[ROWS]):
            k = _add(x[x_at : x_at + length], chains, k)
            x_at += _step(p, 0)
        for j in range(c):
            total = (chains[j] + chains[c + j]) + (chains[2 * c + j] + chains[3 * c + j])
            y[y_at + j] = total / pixels


@kernel
def image_mean_gradient(dx: F32, dy: F32, c: int, p: I64, first: int, count: int) -> None:
    """dx = dy / pixels everywhere. Here p has rows and row length of dx. Operands: dx, dy."""
    length = p[LENGTH]
    pixels = np.float32(p[ROWS] * length // c)
    for i in range(count):
        x_at, y_at = _at(p, 0, first, i), _at(p, 1, first, i)
        for r in range(p[ROWS]):
            xs = dx[x_at : x_at + length]
            if r == 0:
                for j in range(length):
                    xs[j] = dy[y_at + j % c] / pixels
            else:
                xs[:] = dx[x_at - _step(p, 0) : x_at - _step(p, 0) + length]
            x_at += _step(p, 0)


@kernel
def halved(x: F32, y: F32, p: I64, w: I64, before: int, mean: bool, first: int, count: int) -> None:
    """Every second pixel of x, or the means of 2 x 2, with twice the channels: zeros, `before` of them in front.

    Operands: x, y.
    """
    c = w[9]
    for i in range(count):
        x_at, y_at = _at(p, 0, first, i), _at(p, 1, first, i)
        for r in range(p[ROWS]):
            for q in range(p[LENGTH] // (2 * c)):
                at, lower = x_at + 2 * (r * _step(p, 0) + q * c), x_at + (2 * r + 1) * _step(p, 0) + 2 * q * c
                ys = y[y_at + q * 2 * c : y_at + (q + 1) * 2 * c]
                ys[:] = 0
                for j in range(c):
                    if mean:
                        above, below = x[at + j] + x[at + c + j], x[lower + j] + x[lower + c + j]
                        ys[before + j] = (above + below) * np.float32(0.25)
                    else:
                        ys[before + j] = x[at + j]
            y_at += _step(p, 1)


@kernel
def halved_gradient(dx: F32, dy: F32, p: I64, w: I64, before: int, mean: bool, first: int, count: int) -> None:
    """The gradient through `halved`. Operands: dx, dy."""
    height, width, c = w[7], w[8], w[9]
    for i in range(count):
        x_at, y_at = _at(p, 0, first, i), _at(p, 1, first, i)
        for h in range(height):
            line = x_at + h * _step(p, 0)
            if not mean and h % 2:
                dx[line : line + width * c] = 0
                continue
            for v in range(width):
                xs, at = dx[line + v * c : line + v * c + c], y_at + h // 2 * _step(p, 1) + v // 2 * 2 * c + before
                if mean:
                    for j in range(c):
                        xs[j] = dy[at + j] * np.float32(0.25)
                elif v % 2:
                    xs[:] = 0
                else:
                    for j in range(c):
                        xs[j] = dy[at + j]
