"""ReLU, sigmoid, tanh, softmax and log-softmax, compiled for float32 arrays in C order.

Except for ReLU, the arithmetic inside is float64 and rounded to float32 once. exp and log are our own polynomials
(elementary.py). A sum along the last axis runs from its first element to its last.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import aligned_empty, kernel, twin
from dptrain.kernels.elementary import exp_scalar, log_scalar
from dptrain.kernels.reference import activation as reference
from dptrain.types import F32

_SMALL = 1e-4  #: below this 1 - exp loses digits, and x - x^3 / 3 has a relative error of 1e-17


@kernel
def _relu(x: F32, y: F32) -> None:
    for i in range(x.size):
        y[i] = np.float32(0) if x[i] <= 0 else x[i]  # compared this way, NaN stays NaN and divergence is noticed


@kernel
def _relu_gradient(dy: F32, y: F32, dx: F32) -> None:
    for i in range(dy.size):
        dx[i] = np.float32(0) if y[i] <= 0 else dy[i]


@twin(reference.relu)
def relu(x: F32) -> F32:
    """max(x, 0)."""
    y = aligned_empty(x.shape)
    _relu(x.reshape(-1), y.reshape(-1))
    return y


@twin(reference.relu_gradient)
def relu_gradient(dy: F32, y: F32) -> F32:
    """dy where the output y is above 0 (or NaN), else 0."""
    dx = aligned_empty(dy.shape)
    _relu_gradient(dy.reshape(-1), y.reshape(-1), dx.reshape(-1))
    return dx


@kernel
def _sigmoid(x: F32, y: F32) -> None:
    for i in range(x.size):
        v = np.float64(x[i])
        e = exp_scalar(-abs(v))
        y[i] = np.float32(e / (1.0 + e) if v < 0 else 1.0 / (1.0 + e))


@kernel
def _sigmoid_gradient(dy: F32, y: F32, dx: F32) -> None:
    for i in range(y.size):
        v = np.float64(y[i])
        dx[i] = np.float32(np.float64(dy[i]) * (v * (1.0 - v)))


@kernel
def _tanh(x: F32, y: F32) -> None:
    for i in range(x.size):
        v = np.float64(x[i])
        if abs(v) < _SMALL:
            y[i] = np.float32(v - v * v * v / 3.0)
        else:
            e = exp_scalar(-2.0 * abs(v))
            t = (1.0 - e) / (1.0 + e)
            y[i] = np.float32(-t if v < 0 else t)


@kernel
def _tanh_gradient(dy: F32, y: F32, dx: F32) -> None:
    for i in range(y.size):
        v = np.float64(y[i])
        dx[i] = np.float32(np.float64(dy[i]) * (1.0 - v * v))


@kernel
def _softmax(x: F32, y: F32, logarithm: bool) -> None:
    rows, classes = x.shape
    for i in range(rows):
        top = x[i, 0]
        for k in range(1, classes):
            if not x[i, k] <= top:  # compared this way, NaN is the largest
                top = x[i, k]
        total = 0.0
        for k in range(classes):
            total += exp_scalar(np.float64(x[i, k]) - np.float64(top))
        log_total = log_scalar(total)
        for k in range(classes):
            shifted = np.float64(x[i, k]) - np.float64(top)
            y[i, k] = np.float32(shifted - log_total if logarithm else exp_scalar(shifted) / total)


@kernel
def _softmax_gradient(dy: F32, y: F32, dx: F32) -> None:
    rows, classes = y.shape
    for i in range(rows):
        total = 0.0
        for k in range(classes):
            total += np.float64(dy[i, k]) * np.float64(y[i, k])
        for k in range(classes):
            dx[i, k] = np.float32(np.float64(y[i, k]) * (np.float64(dy[i, k]) - total))


@kernel
def _log_softmax_gradient(dy: F32, y: F32, dx: F32) -> None:
    rows, classes = y.shape
    for i in range(rows):
        total = 0.0
        for k in range(classes):
            total += np.float64(dy[i, k])
        for k in range(classes):
            dx[i, k] = np.float32(np.float64(dy[i, k]) - exp_scalar(np.float64(y[i, k])) * total)


def _rows(x: F32) -> F32:
    return x.reshape(-1, x.shape[-1])


@twin(reference.sigmoid)
def sigmoid(x: F32) -> F32:
    """1 / (1 + exp(-x)), without overflow."""
    y = aligned_empty(x.shape)
    _sigmoid(x.reshape(-1), y.reshape(-1))
    return y


@twin(reference.sigmoid_gradient)
def sigmoid_gradient(dy: F32, y: F32) -> F32:
    """dy * y * (1 - y), y the output."""
    dx = aligned_empty(y.shape)
    _sigmoid_gradient(dy.reshape(-1), y.reshape(-1), dx.reshape(-1))
    return dx


@twin(reference.tanh)
def tanh(x: F32) -> F32:
    """Hyperbolic tangent."""
    y = aligned_empty(x.shape)
    _tanh(x.reshape(-1), y.reshape(-1))
    return y


@twin(reference.tanh_gradient)
def tanh_gradient(dy: F32, y: F32) -> F32:
    """dy * (1 - y * y), y the output."""
    dx = aligned_empty(y.shape)
    _tanh_gradient(dy.reshape(-1), y.reshape(-1), dx.reshape(-1))
    return dx


@twin(reference.softmax)
def softmax(x: F32) -> F32:
    """exp(x) over its sum along the last axis."""
    y = aligned_empty(x.shape)
    _softmax(_rows(x), _rows(y), False)
    return y


@twin(reference.softmax_gradient)
def softmax_gradient(dy: F32, y: F32) -> F32:
    """y * (dy - sum of dy * y along the last axis), y the output."""
    dx = aligned_empty(y.shape)
    _softmax_gradient(_rows(dy), _rows(y), _rows(dx))
    return dx


@twin(reference.log_softmax)
def log_softmax(x: F32) -> F32:
    """x minus the logarithm of the sum of exp(x) along the last axis."""
    y = aligned_empty(x.shape)
    _softmax(_rows(x), _rows(y), True)
    return y


@twin(reference.log_softmax_gradient)
def log_softmax_gradient(dy: F32, y: F32) -> F32:
    """dy - exp(y) * sum of dy along the last axis, y the output."""
    dx = aligned_empty(y.shape)
    _log_softmax_gradient(_rows(dy), _rows(y), _rows(dx))
    return dx
