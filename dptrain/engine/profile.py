"""Where the time of a shard goes: every line of the plan timed by itself, beside the least it could take."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from dptrain.engine.model import EngineModel
from dptrain.engine.plan import Convolution
from dptrain.kernels.fused import peak
from dptrain.types import F32, U8

_WINOGRAD = 2.25  #: direct multiply-adds for one of F(2x2, 3x3)


class Line(NamedTuple):
    """One line of the plan, an image."""

    name: str
    microseconds: float  #: best of the takes
    gflops: float  #: a second, counted as direct convolution
    gbytes: float  #: a second, of maps read and written
    floor: float  #: microseconds: products at the FMA peak, or maps at the second cache's speed, whichever is more


def profile(model: EngineModel, params: F32, x: U8, takes: int) -> list[Line]:
    """Every pass `takes` times in a row over the shard x: what one image costs with the maps as near as they can be."""
    arena, passes = model.load(params, x)
    n = len(x)
    passes.forward(n, np.zeros(model.buffers.size, np.float32))
    passes.backward(n, np.ones(arena.means.size, np.float32), np.zeros(model.params.size, np.float32))
    limits = peak.fma_gflops(), peak.copy_gbytes()
    lines = []
    for forward in passes.forward_lines:
        seconds = _best(partial(forward.run, 1, n), takes) / n
        lines.append(_line(f"forward  {_name(forward.layer)}", forward.layer, seconds, 1, limits))
    for backward in passes.backward_lines:
        seconds = _best(partial(backward.run, n), takes) / n
        ways = 1 if backward.layer is None or backward.layer.index == 0 else 2
        lines.append(_line(f"backward {_name(backward.layer)}", backward.layer, seconds, ways, limits))
    return lines


def _line(name: str, layer: Convolution | None, seconds: float, ways: int, limits: tuple[float, float]) -> Line:
    if layer is None:
        return Line(name, seconds * 1e6, 0.0, 0.0, 0.0)
    flops = layer.flops * ways
    maps = 4 * ways * (layer.inputs.bare + layer.outputs.bare)
    products = flops / (_WINOGRAD if layer.index and layer.stride == 1 else 1)
    floor = max(products / limits[0], maps / limits[1]) * 1e-3
    return Line(name, seconds * 1e6, flops / seconds * 1e-9, maps / seconds * 1e-9, floor)


def _name(layer: Convolution | None) -> str:
    if layer is None:
        return "means"
    kind = "direct" if layer.index == 0 or layer.stride == 2 else "winograd"
    a, y = layer.inputs, layer.outputs
    return f"{layer.name:<16} {a.height}x{a.width}x{a.channels} -> {y.height}x{y.width}x{y.channels} {kind}"


def _best(run: Callable[[], None], takes: int) -> float:
    seconds = []
    for _ in range(takes):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
