"""Average pooling. float32 runs the compiled twin, float64 (checks) the reference."""

from __future__ import annotations

from dptrain.kernels._twin import twin
from dptrain.kernels.pool import jit, reference

global_average = twin(jit.global_average, reference.global_average)
global_average_gradient = twin(jit.global_average_gradient, reference.global_average_gradient)
average2 = twin(jit.average2, reference.average2)
average2_gradient = twin(jit.average2_gradient, reference.average2_gradient)

__all__ = ["average2", "average2_gradient", "global_average", "global_average_gradient"]
