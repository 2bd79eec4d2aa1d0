"""bf16: rounding, and the product of two matrix tiles."""

from __future__ import annotations

from dptrain.kernels.tiles.jit import dot, narrow, widen

__all__ = ["dot", "narrow", "widen"]
