"""ReLU in Numba. Same names and arguments as reference.py, float32, C order."""

from __future__ import annotations

import numpy as np

from dptrain.kernels import aligned
from dptrain.kernels._jit import kernel
from dptrain.types import F32


@kernel
def _relu(x: F32, y: F32) -> None:
    for i in range(x.size):
        y[i] = np.float32(0) if x[i] <= 0 else x[i]  # this way round NaN stays NaN: a diverged run must show


@kernel
def _relu_gradient(dy: F32, y: F32, dx: F32) -> None:
    for i in range(dy.size):
        dx[i] = np.float32(0) if y[i] <= 0 else dy[i]


def relu(x: F32) -> F32:
    """max(x, 0)."""
    y = aligned.empty(x.shape)
    _relu(x.reshape(-1), y.reshape(-1))
    return y


def relu_gradient(dy: F32, y: F32) -> F32:
    """dy where the output y is above 0 (or NaN), else 0."""
    dx = aligned.empty(dy.shape)
    _relu_gradient(dy.reshape(-1), y.reshape(-1), dx.reshape(-1))
    return dx
