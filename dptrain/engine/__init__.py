"""The fast way through a residual network: the same `Model` as in `dptrain.nn`, as fused passes.

This folder plans the passes and their memory and calls them; `dptrain.kernels.fused` has their compiled loops.
`dptrain.nn` defines what is right, and tests/engine compares the engine with it.
Read plan.py, arena.py, passes.py, model.py, in this order.
"""

from __future__ import annotations

from dptrain.engine.lowering import build

__all__ = ["build"]
