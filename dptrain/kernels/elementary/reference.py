"""exp and log by NumPy: what the polynomials are held to. Their own definition stands in jit.py."""

from __future__ import annotations

import numpy as np

from dptrain.types import F64


def exp(x: F64) -> F64:
    """e ** x, elementwise."""
    return np.exp(x)


def log(x: F64) -> F64:
    """Natural logarithm, elementwise."""
    return np.log(x)
