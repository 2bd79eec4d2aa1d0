"""ReLU in NumPy: the definition of correct. Any float dtype, any shape; NaN stays NaN."""

from __future__ import annotations

import numpy as np

from dptrain.types import Floats


def relu(x: Floats) -> Floats:
    """max(x, 0)."""
    return np.maximum(x, 0)


def relu_gradient(dy: Floats, y: Floats) -> Floats:
    """dy where the output y is above 0 (or NaN), else 0."""
    return np.where(y <= 0, np.zeros((), dy.dtype), dy)
