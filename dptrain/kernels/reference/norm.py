"""Sums over images and pixels, and the elementwise passes of BatchNorm: the definition. Any float dtype.

x is (n, pixels, c). Source: Ioffe & Szegedy 2015, Algorithm 1. The biased variance normalises.
"""

from __future__ import annotations

import numpy as np

from dptrain.types import F64, Floats


def moments(x: Floats) -> tuple[F64, F64]:
    """(n, pixels, c) -> mean (c,), biased variance (c,), both float64; the variance from centred values."""
    mean = x.mean((0, 1), dtype=np.float64)
    return mean, ((x - mean.astype(x.dtype)) ** 2).mean((0, 1), dtype=np.float64)


def normalise(x: Floats, scale: Floats, shift: Floats) -> Floats:
    """x * scale + shift; scale and shift (c,)."""
    return x * scale + shift


def reductions(dy: Floats, x: Floats, mean: Floats) -> tuple[F64, F64]:
    """Sum of dy, and sum of dy * (x - mean), over images and pixels: (c,) each, float64."""
    return dy.sum((0, 1), dtype=np.float64), (dy * (x - mean)).sum((0, 1), dtype=np.float64)


def input_gradient(dy: Floats, x: Floats, coefficients: tuple[Floats, Floats, Floats, Floats]) -> Floats:
    """scale * ((dy - a) - (x - mean) * b), for coefficients (mean, scale, a, b), (c,) each."""
    mean, scale, a, b = coefficients
    return scale * ((dy - a) - (x - mean) * b)
