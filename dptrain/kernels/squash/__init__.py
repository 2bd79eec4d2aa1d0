"""Sigmoid, tanh, softmax, log-softmax. float32 runs the compiled twin, float64 (checks) the reference."""

from __future__ import annotations

from dptrain.kernels._twin import twin
from dptrain.kernels.squash import jit, reference

sigmoid = twin(jit.sigmoid, reference.sigmoid)
sigmoid_gradient = twin(jit.sigmoid_gradient, reference.sigmoid_gradient)
tanh = twin(jit.tanh, reference.tanh)
tanh_gradient = twin(jit.tanh_gradient, reference.tanh_gradient)
softmax = twin(jit.softmax, reference.softmax)
softmax_gradient = twin(jit.softmax_gradient, reference.softmax_gradient)
log_softmax = twin(jit.log_softmax, reference.log_softmax)
log_softmax_gradient = twin(jit.log_softmax_gradient, reference.log_softmax_gradient)

__all__ = [
    "log_softmax",
    "log_softmax_gradient",
    "sigmoid",
    "sigmoid_gradient",
    "softmax",
    "softmax_gradient",
    "tanh",
    "tanh_gradient",
]
