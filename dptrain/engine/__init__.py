"""The fast way through a residual network: the same `Model` as in `dptrain.nn`, as fused passes.

`dptrain.nn` defines what is right, and tests/engine compares the engine with it. The compiled passes are in
`dptrain.kernels.fused`. Read plan.py, arena.py, passes.py, model.py, in this order.
"""

from __future__ import annotations

from dptrain.engine.lowering import build

__all__ = ["build"]
