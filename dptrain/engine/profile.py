"""Where the time of a shard goes: every line of the plan timed by itself, beside the least time it could take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from dptrain.engine.lines import METHODS, Op, Value
from dptrain.engine.lines import Line as PlanLine
from dptrain.engine.model import EngineModel
from dptrain.engine.passes import Passes
from dptrain.engine.plan import Convolution
from dptrain.kernels.fused import peak
from dptrain.nn import convolution
from dptrain.nn.layer import pair
from dptrain.types import F32, U8


class Line(NamedTuple):
    """The measurement of one line of the plan, per image."""

    name: str
    microseconds: float  #: the fastest of the repetitions
    gflops: float  #: GFLOP/s, counted as direct convolution
    gbytes: float  #: GB/s of activations read and written
    floor: float  #: microseconds: products at this core's peak or activations at the second cache's speed, the longer


def profile(model: EngineModel, params: F32, x: U8, repetitions: int) -> list[Line]:
    """Runs every pass `repetitions` times in a row over the shard x, so the activations are in the nearest caches."""
    n = len(x)
    result = model.gradient(params, x, np.zeros(n, np.int64))  # every value exists; its vectors are written again
    bound, core, lines = model.load(params, x), _Core(peak.fma_gflops(), peak.copy_gbytes()), list[Line]()
    forward: dict[int, Callable[[], None]] = {}
    for way, parts in (("forward ", bound.forward), ("backward", bound.backward)):
        for calls, group in parts:
            for call in calls:
                if call.line.op in (Op.CHAIN, Op.CHAIN_BACK):
                    lines += _chain(core, way, bound.chain.passes, n, repetitions)
                    continue
                if call.line.op == Op.LAYERS:
                    forward[call.line.key] = partial(call.run, 0, n)
                before = forward.get(call.line.key) if call.line.op == Op.LAYERS_BACK else None
                run = partial(bound.sweep, call, group, n)
                seconds = peak.best(run, repetitions, before) if before else peak.best(run, repetitions)
                lines.append(core.line(way, call.line, model.plan.values, seconds / n))
    assert result.samples == n
    return lines


def _chain(core: _Core, way: str, chain: Passes, n: int, repetitions: int) -> Iterator[Line]:
    """The passes of a chain of the paper's blocks."""
    if way == "backward":
        for backward in chain.backward_lines:
            ways = 1 if backward.layer is None or backward.layer.index == 0 else 2
            yield core.of_chain(way, backward.layer, peak.best(partial(backward.run, n), repetitions) / n, ways)
        return
    for forward in chain.forward_lines:
        yield core.of_chain(way, forward.layer, peak.best(partial(forward.run, 1, n), repetitions) / n, 1)


class _Core(NamedTuple):
    """The limits of this core."""

    gflops: float
    gbytes: float

    def of_chain(self, way: str, layer: Convolution | None, seconds: float, ways: int) -> Line:
        """A pass of a chain. ways: arrays of gradients, or of outputs, that the pass makes."""
        if layer is None:
            return Line(f"{way} means", seconds * 1e6, 0.0, 0.0, 0.0)
        a, y = layer.inputs, layer.outputs
        method, saving = METHODS[layer.tile]
        flops, moved = layer.flops * ways, 4 * ways * (a.bare + y.bare)  # bytes
        floor = max(flops / saving / self.gflops, moved / self.gbytes) * 1e-3
        name = f"{way} {layer.name:<16} {a} -> {y} {method}"
        return Line(name, seconds * 1e6, flops / seconds * 1e-9, moved / seconds * 1e-9, floor)

    def line(self, way: str, line: PlanLine, values: Sequence[Value], seconds: float) -> Line:
        """Any other line."""
        moved = sum(values[v].bytes * prod(values[v].shape) for v in (*line.reads, *line.writes) if values[v].shape)
        flops, layer = 0.0, line.layers[0] if line.layers else None
        if isinstance(layer, convolution.Convolution) and line.op in (Op.CONVOLVE, Op.WEIGHTS, Op.INPUTS):
            outputs = line.writes[0] if line.op == Op.CONVOLVE else line.reads[-1]
            flops = 2.0 * prod(pair(layer.taps)) * layer.inputs * prod(values[outputs].shape)
        floor = max(flops / METHODS[line.tile][1] / self.gflops, moved / self.gbytes) * 1e-3 if line.fused else 0.0
        name = f"{way} {line.text(values)}"
        return Line(name, seconds * 1e6, flops / seconds * 1e-9, moved / seconds * 1e-9, floor)
