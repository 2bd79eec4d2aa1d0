"""The sums and elementwise passes of BatchNorm. float32 runs the compiled twin, float64 (checks) the reference."""

from __future__ import annotations

from dptrain.kernels._twin import twin
from dptrain.kernels.norm import jit, reference

moments = twin(jit.moments, reference.moments)
normalise = twin(jit.normalise, reference.normalise)
reductions = twin(jit.reductions, reference.reductions)
input_gradient = twin(jit.input_gradient, reference.input_gradient)

__all__ = ["input_gradient", "moments", "normalise", "reductions"]
