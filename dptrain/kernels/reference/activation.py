"""ReLU, sigmoid, tanh, softmax and log-softmax: the definition. Any float dtype, any shape. NaN stays NaN."""

from __future__ import annotations

import numpy as np

from dptrain.types import Floats


def relu(x: Floats) -> Floats:
    """max(x, 0)."""
    return np.maximum(x, 0)


def relu_gradient(dy: Floats, y: Floats) -> Floats:
    """dy where the output y is above 0 (or NaN), else 0."""
    return np.where(y <= 0, np.zeros((), dy.dtype), dy)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e / (1 + e), 1 / (1 + e))


def sigmoid_gradient(dy: Floats, y: Floats) -> Floats:
    """dy * y * (1 - y), y the output."""
    return dy * (y * (1 - y))


def tanh(x: Floats) -> Floats:
    """Hyperbolic tangent."""
    return np.tanh(x)


def tanh_gradient(dy: Floats, y: Floats) -> Floats:
    """dy * (1 - y * y), y the output."""
    return dy * (1 - y * y)


def softmax(x: Floats) -> Floats:
    """exp(x) over its sum along the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    shares: Floats = e / e.sum(-1, keepdims=True)
    return shares


def softmax_gradient(dy: Floats, y: Floats) -> Floats:
    """y * (dy - sum of dy * y along the last axis), y the output."""
    dx: Floats = y * (dy - (dy * y).sum(-1, keepdims=True))
    return dx


def log_softmax(x: Floats) -> Floats:
    """x minus the logarithm of the sum of exp(x) along the last axis."""
    shifted = x - x.max(-1, keepdims=True)
    y: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return y


def log_softmax_gradient(dy: Floats, y: Floats) -> Floats:
    """dy - exp(y) * sum of dy along the last axis, y the output."""
    dx: Floats = dy - np.exp(y) * dy.sum(-1, keepdims=True)
    return dx
