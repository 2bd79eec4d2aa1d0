"""ReLU. float32 runs the compiled twin, float64 (checks) the reference."""

from __future__ import annotations

from dptrain.kernels._twin import twin
from dptrain.kernels.activation import jit, reference

relu = twin(jit.relu, reference.relu)
relu_gradient = twin(jit.relu_gradient, reference.relu_gradient)

__all__ = ["relu", "relu_gradient"]
