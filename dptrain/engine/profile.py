"""Where the time of a shard goes: every line of the plan timed by itself, beside the least time it could take."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from dptrain.engine.model import EngineModel
from dptrain.engine.plan import Convolution
from dptrain.kernels.fused import peak
from dptrain.types import F32, U8

#: By the size of Winograd's tiles: the name, and multiply-adds of a direct convolution per multiply-add.
_METHODS = {0: ("direct", 1.0), 2: ("f2", 2.25), 4: ("f4", 4.0)}


class Line(NamedTuple):
    """The measurement of one line of the plan, per image."""

    name: str
    microseconds: float  #: the fastest of the repetitions
    gflops: float  #: GFLOP/s, counted as direct convolution
    gbytes: float  #: GB/s of activations read and written
    floor: float  #: microseconds: products at this core's peak or activations at the second cache's speed, the longer


def profile(model: EngineModel, params: F32, x: U8, repetitions: int) -> list[Line]:
    """Runs every pass `repetitions` times in a row over the shard x, so the activations are in the nearest caches."""
    arena, passes = model.load(params, x)
    n = len(x)
    passes.forward(n, np.zeros(model.buffers.size, np.float32))
    passes.backward(n, np.ones(arena.means.size, np.float32), np.zeros(model.params.size, np.float32))
    core = _Core(peak.fma_gflops(), peak.copy_gbytes())
    lines = []
    for forward in passes.forward_lines:
        seconds = peak.best(partial(forward.run, 1, n), repetitions) / n
        lines.append(core.line("forward ", forward.layer, seconds, 1))
    for backward in passes.backward_lines:
        seconds = peak.best(partial(backward.run, n), repetitions) / n
        ways = 1 if backward.layer is None or backward.layer.index == 0 else 2
        lines.append(core.line("backward", backward.layer, seconds, ways))
    return lines


class _Core(NamedTuple):
    """The limits of this core."""

    gflops: float
    gbytes: float

    def line(self, way: str, layer: Convolution | None, seconds: float, ways: int) -> Line:
        """ways: arrays of gradients, or of outputs, that the pass makes."""
        if layer is None:
            return Line(f"{way} means", seconds * 1e6, 0.0, 0.0, 0.0)
        a, y = layer.inputs, layer.outputs
        method, saving = _METHODS[layer.tile]
        flops, moved = layer.flops * ways, 4 * ways * (a.bare + y.bare)  # bytes
        floor = max(flops / saving / self.gflops, moved / self.gbytes) * 1e-3
        name = f"{way} {layer.name:<16} {a} -> {y} {method}"
        return Line(name, seconds * 1e6, flops / seconds * 1e-9, moved / seconds * 1e-9, floor)
