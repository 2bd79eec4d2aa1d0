"""Softmax cross-entropy and ranks. float32 runs the compiled twin, float64 (checks) the reference."""

from __future__ import annotations

from dptrain.kernels._twin import twin
from dptrain.kernels.loss import jit, reference

cross_entropy = twin(jit.cross_entropy, reference.cross_entropy)
probabilities = twin(jit.probabilities, reference.probabilities)
ranks = twin(jit.ranks, reference.ranks)

__all__ = ["cross_entropy", "probabilities", "ranks"]
