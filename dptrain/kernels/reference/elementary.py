"""exp and log by NumPy, with which the tests compare the polynomials. kernels/elementary.py defines the exact bits."""

from __future__ import annotations

import numpy as np

from dptrain.types import F64


def exp(x: F64) -> F64:
    """e ** x, elementwise."""
    return np.exp(x)


def log(x: F64) -> F64:
    """Natural logarithm, elementwise."""
    return np.log(x)
