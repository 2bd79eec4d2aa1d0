"""The definition of every operation, in NumPy. The compiled twin has the same file name, one folder up."""

from __future__ import annotations

import numpy as np

from dptrain.types import F32


def fma(a: F32, b: F32, c: F32) -> F32:
    """a * b + c of float32 arrays or numbers, rounded once, as the kernels compute it.

    In float64 the product is exact. If the sum is not, its last bit is set to 1: with 53 bits, the rounding to 24 bits
    is then correct (Boldo & Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
    """
    product, c64 = np.asarray(a, np.float64) * b, np.asarray(c, np.float64)
    total = product + c64
    back = total - product
    lost = (product - (total - back)) + (c64 - back)
    bits = total.view(np.int64)
    inexact = (lost != 0) & (bits & 1 == 0)
    towards = np.where((lost > 0) == (total > 0), 1, -1)
    rounded: F32 = np.where(inexact, bits + towards, bits).view(np.float64).astype(np.float32)
    return rounded
