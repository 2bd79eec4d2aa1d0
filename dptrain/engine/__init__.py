"""The fast way through a residual network: the same `Model` as `dptrain.nn`'s, lowered to fused passes over one arena.

`dptrain.nn` is the definition and says what is right; the engine is held to it. Kernels are in `dptrain.kernels.fused`.
"""

from __future__ import annotations

from dptrain.engine.build import build

__all__ = ["build"]
