"""exp and log in float64 from + - * / only, so that every CPU and every C library gives the same bits.

Error below 2 units in the last place over the finite range (tests/kernels/test_elementary.py).
"""

from __future__ import annotations

import math

import numpy as np

from dptrain.kernels.compiled import kernel
from dptrain.types import F64

#: ln 2 in two parts; the first has 21 trailing zero bits, so that n times it is exact for |n| < 2**20 (Cody & Waite).
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
_SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
_TAYLOR = tuple(1.0 / math.factorial(k) for k in range(14))
_ODD = tuple(1.0 / (2 * k + 1) for k in range(12))


@kernel
def exp_scalar(x: float) -> float:
    """e ** x: reduction to |r| <= ln(2) / 2, Taylor to r ** 13 by Horner, exact scaling by a power of two."""
    if x != x:
        return x
    if x > 709.78:
        return math.inf
    if x < -745.2:
        return 0.0
    n = math.floor(x * _LOG2_E + 0.5)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    y = _TAYLOR[13]
    for k in range(12, -1, -1):
        y = y * r + _TAYLOR[k]
    return math.ldexp(y, n)


@kernel
def log_scalar(x: float) -> float:
    """ln x = e ln 2 + 2 artanh(t), t = (m - 1) / (m + 1), sqrt(1/2) <= m < sqrt(2); series to t ** 23 by Horner."""
    if x != x or x < 0:
        return math.nan
    if x == 0:
        return -math.inf
    if x == math.inf:
        return x
    m, e = math.frexp(x)
    if m < _SQRT_HALF:
        m, e = m * 2.0, e - 1
    t = (m - 1.0) / (m + 1.0)
    t2 = t * t
    y = _ODD[11]
    for k in range(10, 0, -1):
        y = y * t2 + _ODD[k]
    return e * _LN2_HIGH + (2.0 * t + (2.0 * t * (y * t2) + e * _LN2_LOW))


@kernel
def _exp(x: F64, y: F64) -> None:
    for i in range(x.size):
        y[i] = exp_scalar(x[i])


@kernel
def _log(x: F64, y: F64) -> None:
    for i in range(x.size):
        y[i] = log_scalar(x[i])


def exp(x: F64) -> F64:
    """e ** x, elementwise."""
    y = np.empty(x.shape)
    _exp(x.reshape(-1), y.reshape(-1))
    return y


def log(x: F64) -> F64:
    """Natural logarithm, elementwise."""
    y = np.empty(x.shape)
    _log(x.reshape(-1), y.reshape(-1))
    return y
