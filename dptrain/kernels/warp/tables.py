"""Sines, cosines and Gaussian weights as whole numbers, for the warps.

Made of + - * / in float64, one rounded operation after the other, never by the C library: so they are the same on
every machine, and with them every warped pixel, which is integer arithmetic from there on.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from dptrain.kernels import elementary
from dptrain.types import F64, I64

STEPS = 16  #: angles in a degree
TAPS = 13  #: of the Gaussian; the seeds' kernel_dim
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
    """TAPS weights in units of 1/4096, symmetric, summing to 4096; sigma in pixels. Read only by convention."""
    distance = np.arange(TAPS, dtype=np.float64) - TAPS // 2
    weights = elementary.exp(distance * distance / (-2.0 * sigma * sigma))
    total = 0.0
    for weight in weights.tolist():  # in this order
        total += weight
    whole: I64 = np.rint(weights * (4096.0 / total)).astype(np.int64)
    whole[TAPS // 2] += 4096 - int(whole.sum())
    return whole
