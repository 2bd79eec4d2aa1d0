"""The arithmetic of bf16 in NumPy: the definition of correct, for the tile instruction and for its emulation.

bf16 numbers are the upper halves of float32, in uint16. Intel SDM: VCVTNEPS2BF16 (rounding), TDPBF16PS (products).
"""

from __future__ import annotations

import numpy as np

from dptrain.types import F32, F64, U16

_LEAST = 2.0**-126  #: normal number
_ROOM = 2.0**64


def narrow(x: F32) -> U16:
    """Rounds to bf16, to nearest even; denormals become zeros of their sign, a NaN becomes quiet."""
    bits = x.view(np.uint32)
    rounded = bits + ((bits >> 16 & 1) + 0x7FFF).astype(np.uint32)
    rounded = np.where(bits & 0x7F800000 == 0, bits & 0x80000000, rounded)
    rounded = np.where(np.isnan(x), bits | 0x00400000, rounded)
    return np.asarray(rounded >> 16, np.uint16)


def widen(x: U16) -> F32:
    """The same number as float32."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def dot(c: F32, a: U16, b: U16) -> F32:
    """TDPBF16PS: c (16, 16), a (16, 32), b (16, 16, 2) -> c + a b. See intrinsics/tile.py for the pseudo code."""
    left, right = _flushed(widen(a)), _flushed(widen(b))
    even, odd = np.zeros((16, 16), np.float32), np.zeros((16, 16), np.float32)
    for k in range(16):
        even = _fma(left[:, 2 * k, None], right[k, None, :, 0], even)
        odd = _fma(left[:, 2 * k + 1, None], right[k, None, :, 1], odd)
    return _flushed(_flushed(c) + _flushed(even + odd))


def _flushed(x: F32) -> F32:
    return np.where(np.abs(x) < np.float32(_LEAST), np.copysign(np.float32(0), x), x)


def _fma(x: F32, y: F32, z: F32) -> F32:
    """x * y + z, rounded once; 0 with its sign where the result, rounded to 24 bits, is below the normal numbers."""
    odd = _to_odd(x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64))
    result = odd.astype(np.float32)
    near = np.abs(odd) < 2.0 * _LEAST
    tiny = near & (np.abs((np.where(near, odd, 0.0) * _ROOM).astype(np.float32)) < np.float32(_LEAST * _ROOM))
    return np.where(tiny, np.copysign(np.float32(0), result), result)


def _to_odd(product: F64, z: F64) -> F64:
    """product + z with the last bit set where it is inexact: rounding that to float32 is rounding the exact sum once.

    The product of two bf16 numbers is exact in float64; the error of the sum by Knuth's TwoSum.
    """
    total = product + z
    part = total - product
    with np.errstate(invalid="ignore"):
        error = (product - (total - part)) + (z - part)
    bits = total.view(np.int64)
    inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    away = (error > 0) == (total > 0)
    return np.where(inexact, bits + np.where(away, 1, -1), bits).view(np.float64)
