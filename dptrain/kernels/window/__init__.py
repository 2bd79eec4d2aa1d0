"""Pooling over any windows: maximum and average. float32 runs the compiled twin, float64 (checks) the reference."""

from __future__ import annotations

from dptrain.kernels._twin import twin
from dptrain.kernels.window import jit, reference
from dptrain.kernels.window.plan import Window

maximum = twin(jit.maximum, reference.maximum)
maximum_gradient = twin(jit.maximum_gradient, reference.maximum_gradient)
average = twin(jit.average, reference.average)
average_gradient = twin(jit.average_gradient, reference.average_gradient)

__all__ = ["Window", "average", "average_gradient", "maximum", "maximum_gradient"]
