"""Convolution: forward, input gradient, weight gradient. float32 runs the compiled twin, float64 the reference."""

from __future__ import annotations

from dptrain.kernels._twin import twin
from dptrain.kernels.conv import jit, reference

forward = twin(jit.forward, reference.forward)
input_gradient = twin(jit.input_gradient, reference.input_gradient)
weight_gradient = twin(jit.weight_gradient, reference.weight_gradient)

__all__ = ["forward", "input_gradient", "weight_gradient"]
