"""Sums over samples and pixels for BatchNorm, in Numba. Same names and arguments as reference.py, float32 only.

Order of additions, per channel: an image's pixels in float32 as in _chains.py; the images' sums in order in float64.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels import aligned
from dptrain.kernels._chains import add_pixels, joined
from dptrain.kernels._jit import kernel
from dptrain.types import F32, F64


@kernel
def _join(partial: F32, total: F64) -> None:
    for c in range(total.shape[0]):
        total[c] += np.float64(joined(partial, c))


@kernel
def _sum(x: F32, partial: F32, total: F64) -> None:
    for i in range(x.shape[0]):
        add_pixels(x, i, partial)
        _join(partial, total)


@kernel
def _sum_of_squares(x: F32, mean: F32, partial: F32, total: F64) -> None:
    n, pixels, channels = x.shape
    for i in range(n):
        partial[:] = 0
        for p in range(pixels):
            j = p & 3
            for c in range(channels):
                centred = x[i, p, c] - mean[c]
                partial[j, c] += centred * centred
        _join(partial, total)


@kernel
def _sums_of_gradient(dy: F32, x: F32, mean: F32, partial: F32, product: F32, total: F64, weighted: F64) -> None:
    n, pixels, channels = x.shape
    for i in range(n):
        partial[:] = 0
        product[:] = 0
        for p in range(pixels):
            j = p & 3
            for c in range(channels):
                partial[j, c] += dy[i, p, c]
                product[j, c] += dy[i, p, c] * (x[i, p, c] - mean[c])
        _join(partial, total)
        _join(product, weighted)


@kernel
def _normalise(x: F32, scale: F32, shift: F32, y: F32) -> None:
    n, pixels, channels = x.shape
    for i in range(n):
        for p in range(pixels):
            for c in range(channels):
                y[i, p, c] = x[i, p, c] * scale[c] + shift[c]


@kernel
def _input_gradient(dy: F32, x: F32, mean: F32, scale: F32, a: F32, b: F32, dx: F32) -> None:
    n, pixels, channels = x.shape
    for i in range(n):
        for p in range(pixels):
            for c in range(channels):
                dx[i, p, c] = scale[c] * ((dy[i, p, c] - a[c]) - (x[i, p, c] - mean[c]) * b[c])


def moments(x: F32) -> tuple[F64, F64]:
    """(n, pixels, c) -> mean (c,), biased variance (c,), both float64; the variance from centred values."""
    partial, total, squares = aligned.empty((4, x.shape[2])), np.zeros(x.shape[2]), np.zeros(x.shape[2])
    count = x.shape[0] * x.shape[1]
    _sum(x, partial, total)
    mean = total / count
    _sum_of_squares(x, mean.astype(np.float32), partial, squares)
    return mean, squares / count


def normalise(x: F32, scale: F32, shift: F32) -> F32:
    """x * scale + shift; scale and shift (c,)."""
    y = aligned.empty(x.shape)
    _normalise(x, scale, shift, y)
    return y


def reductions(dy: F32, x: F32, mean: F32) -> tuple[F64, F64]:
    """Sum of dy, and sum of dy * (x - mean), over samples and pixels: (c,) each, float64."""
    channels = x.shape[2]
    total, weighted = np.zeros(channels), np.zeros(channels)
    _sums_of_gradient(dy, x, mean, aligned.empty((4, channels)), aligned.empty((4, channels)), total, weighted)
    return total, weighted


def input_gradient(dy: F32, x: F32, coefficients: tuple[F32, F32, F32, F32]) -> F32:
    """scale * ((dy - a) - (x - mean) * b), for coefficients (mean, scale, a, b), (c,) each."""
    dx = aligned.empty(x.shape)
    _input_gradient(dy, x, *coefficients, dx)
    return dx
