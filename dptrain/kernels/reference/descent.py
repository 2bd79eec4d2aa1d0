"""Gradient descent with momentum over all parameters of a network, and the norm of a gradient: the definition."""

from __future__ import annotations

import numpy as np

from dptrain.types import F32


def descend(
    params: F32, gradient: F32, velocity: F32, decay: F32, lr: np.float32, momentum: np.float32, *, nesterov: bool
) -> None:
    """g += decay * p;  v = momentum * v + g;  p -= lr * (g + momentum * v if nesterov else v). In place, g is kept.

    All arrays are (n,). An empty `decay` or `velocity` leaves out its term. Every operation rounds each
    element to float32 once, in the order of the formula.
    """
    change = gradient + params * decay if decay.size else gradient
    if velocity.size:
        velocity *= momentum
        velocity += change
        change = change + velocity * momentum if nesterov else velocity
    params -= change * lr


def sum_of_squares(x: F32) -> float:
    """Of the elements of x (n,), in float64. Eight sums, of every eighth element each, are added in turn."""
    rows = np.zeros((-(-x.size // 8) + 1, 8))
    rows[1:].reshape(-1)[: x.size] = np.square(x, dtype=np.float64)
    return float(np.add.accumulate(np.add.accumulate(rows)[-1])[-1])
