"""Losses beside cross-entropy: hinge, binary cross-entropy. float32 runs the compiled twin, float64 the reference."""

from __future__ import annotations

from dptrain.kernels._twin import twin
from dptrain.kernels.criterion import jit, reference

hinge = twin(jit.hinge, reference.hinge)
binary_cross_entropy = twin(jit.binary_cross_entropy, reference.binary_cross_entropy)

__all__ = ["binary_cross_entropy", "hinge"]
