"""Networks as a few fused passes over one block of memory: the same `Model` as in `dptrain.nn`, only faster.

A network is lowered from its tree (tree.py, geometry.py) to a plan, which is data: lines and segments (lines.py). The
lines are bound to arrays (memory.py, calls.py) and to the compiled passes of `dptrain.kernels` (elementwise.py,
convolutions.py, pooling.py), or to layers of `dptrain.nn` (layers.py). A chain of the paper's blocks is one line, with
passes of its own: plan.py, arena.py, weights.py, passes.py. `dptrain.nn` defines what is right; tests/engine compares.
Read lines.py, tree.py, model.py, in this order.
"""

from __future__ import annotations

from dptrain.engine.listing import listing
from dptrain.engine.lowering import build, plan_of

__all__ = ["build", "listing", "plan_of"]
