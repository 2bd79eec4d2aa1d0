"""Gradient descent with momentum, and the norm of a gradient, compiled. Both have the bits of the reference."""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import kernel
from dptrain.types import F32, F64


@kernel
def _descend(
    params: F32,
    gradient: F32,
    velocity: F32,
    decay: F32,
    lr: np.float32,
    momentum: np.float32,
    nesterov: bool,
) -> None:
    decays, moves = decay.size > 0, velocity.size > 0
    for i in range(params.size):
        change = gradient[i]
        if decays:
            change = change + params[i] * decay[i]
        if moves:
            velocity[i] = velocity[i] * momentum + change
            change = change + velocity[i] * momentum if nesterov else velocity[i]
        params[i] = params[i] - change * lr


def descend(
    params: F32, gradient: F32, velocity: F32, decay: F32, lr: np.float32, momentum: np.float32, *, nesterov: bool
) -> None:
    """g += decay * p;  v = momentum * v + g;  p -= lr * (g + momentum * v if nesterov else v). In place, g is kept.

    All arrays are (n,). An empty `decay` or `velocity` leaves out its term.
    """
    _descend(params, np.require(gradient, requirements=["C", "W"]), velocity, decay, lr, momentum, nesterov)


@kernel
def _add_squares(x: F32, sums: F64) -> float:
    for i in range(x.size):
        value = np.float64(x[i])
        sums[i % 8] += value * value
    total = 0.0
    for k in range(8):
        total += sums[k]
    return total


def sum_of_squares(x: F32) -> float:
    """Of the elements of x (n,), in float64. Eight sums, of every eighth element each, are added in turn."""
    return _add_squares(x, np.zeros(8))
