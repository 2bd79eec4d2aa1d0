"""Where the time of a shard goes: every line of the plan timed by itself, beside the least it could take."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from dptrain.engine.model import EngineModel
from dptrain.engine.plan import Convolution
from dptrain.kernels.fused import peak
from dptrain.types import F32, U8

_WINOGRAD = 2.25  #: multiply-adds of a direct 3 x 3 convolution for one of F(2x2, 3x3)


class Line(NamedTuple):
    """One line of the plan, an image."""

    name: str
    microseconds: float  #: best of the takes
    gflops: float  #: a second, counted as direct convolution
    gbytes: float  #: a second, of maps read and written
    floor: float  #: microseconds: products at the core's peak, or maps at the second cache's speed, whichever is more


def profile(model: EngineModel, params: F32, x: U8, takes: int) -> list[Line]:
    """Every pass `takes` times in a row over the shard x: what one image costs with the maps as near as they can be."""
    arena, passes = model.load(params, x)
    n = len(x)
    passes.forward(n, np.zeros(model.buffers.size, np.float32))
    passes.backward(n, np.ones(arena.means.size, np.float32), np.zeros(model.params.size, np.float32))
    core = _Core(peak.fma_gflops(), peak.copy_gbytes())
    lines = []
    for forward in passes.forward_lines:
        seconds = peak.best(partial(forward.run, 1, n), takes) / n
        lines.append(core.line("forward ", forward.layer, seconds, 1))
    for backward in passes.backward_lines:
        seconds = peak.best(partial(backward.run, n), takes) / n
        ways = 1 if backward.layer is None or backward.layer.index == 0 else 2
        lines.append(core.line("backward", backward.layer, seconds, ways))
    return lines


class _Core(NamedTuple):
    """What a pass is held to."""

    gflops: float
    gbytes: float

    def line(self, way: str, layer: Convolution | None, seconds: float, ways: int) -> Line:
        """ways: gradients made, or outputs."""
        if layer is None:
            return Line(f"{way} means", seconds * 1e6, 0.0, 0.0, 0.0)
        a, y = layer.inputs, layer.outputs
        method, saving = ("winograd", _WINOGRAD) if layer.winograd else ("direct", 1.0)
        flops, maps = layer.flops * ways, 4 * ways * (a.bare + y.bare)
        floor = max(flops / saving / self.gflops, maps / self.gbytes) * 1e-3
        shapes = f"{a.height}x{a.width}x{a.channels} -> {y.height}x{y.width}x{y.channels}"
        name = f"{way} {layer.name:<16} {shapes} {method}"
        return Line(name, seconds * 1e6, flops / seconds * 1e-9, maps / seconds * 1e-9, floor)
