"""Sums over images and pixels, and the elementwise passes of BatchNorm, compiled for float32 arrays.

Order of additions, per channel: the pixels of an image in float32 as in `add_pixels`, then the sums of the images, in
order, in float64.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import aligned_empty, kernel, twin
from dptrain.kernels.reference import norm as reference
from dptrain.types import F32, F64


@kernel
def add_pixels(x: F32, i: int, chains: F32) -> None:
    """chains (4, channels) = sums over the pixels of x[i]; x: (n, pixels, channels).

    Chain j adds the pixels j, j + 4, j + 8, ... in order. Lanes are channels, so the width of a vector does not matter.
    """
    chains[:] = 0
    for p in range(x.shape[1]):
        j = p & 3
        for c in range(x.shape[2]):
            chains[j, c] += x[i, p, c]


@kernel
def joined(chains: F32, c: int) -> np.float32:
    """The sum of one channel's chains: (0 + 1) + (2 + 3)."""
    return (chains[0, c] + chains[1, c]) + (chains[2, c] + chains[3, c])  # type: ignore[no-any-return]  # float32 in Numba


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


@twin(reference.moments)
def moments(x: F32) -> tuple[F64, F64]:
    """(n, pixels, c) -> mean (c,), biased variance (c,), both float64; the variance from centred values."""
    partial, total, squares = aligned_empty((4, x.shape[2])), np.zeros(x.shape[2]), np.zeros(x.shape[2])
    count = x.shape[0] * x.shape[1]
    _sum(x, partial, total)
    mean = total / count
    _sum_of_squares(x, mean.astype(np.float32), partial, squares)
    return mean, squares / count


@twin(reference.normalise)
def normalise(x: F32, scale: F32, shift: F32) -> F32:
    """x * scale + shift; scale and shift (c,)."""
    y = aligned_empty(x.shape)
    _normalise(x, scale, shift, y)
    return y


@twin(reference.reductions)
def reductions(dy: F32, x: F32, mean: F32) -> tuple[F64, F64]:
    """Sum of dy, and sum of dy * (x - mean), over images and pixels: (c,) each, float64."""
    channels = x.shape[2]
    total, weighted = np.zeros(channels), np.zeros(channels)
    _sums_of_gradient(dy, x, mean, aligned_empty((4, channels)), aligned_empty((4, channels)), total, weighted)
    return total, weighted


@twin(reference.input_gradient)
def input_gradient(dy: F32, x: F32, coefficients: tuple[F32, F32, F32, F32]) -> F32:
    """scale * ((dy - a) - (x - mean) * b), for coefficients (mean, scale, a, b), (c,) each."""
    dx = aligned_empty(x.shape)
    _input_gradient(dy, x, *coefficients, dx)
    return dx
