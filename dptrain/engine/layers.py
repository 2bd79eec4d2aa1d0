"""Layers that the engine does not fuse: `dptrain.nn` runs them for the whole shard, inside the plan."""

from __future__ import annotations

from dptrain.engine.calls import Call, Context
from dptrain.engine.lines import Line
from dptrain.nn.layer import Backward
from dptrain.types import F32


def layers(b: Context, line: Line) -> Call:
    """Layers of dptrain.nn."""
    x, y = b.memory.places[line.reads[0]], b.memory.places[line.writes[0]]
    shard, backs, key, inner = b.shard, b.backs, line.key, line.layers

    def run(_: int, n: int) -> None:
        signal, made = x.images(n), []
        for layer in inner:
            signal, back = layer(shard.run, signal)
            made.append(back)
        y.put(signal)
        if shard.run.training:
            backs[key] = _reversed(made)

    return Call(line, run)


def layers_back(b: Context, line: Line) -> Call:
    """Their backward passes."""
    dy = b.memory.places[line.reads[0]]
    shard, backs, key = b.shard, b.backs, line.key
    dx = b.memory.places[line.writes[0]] if line.writes else None

    def run(_: int, n: int) -> None:
        found = backs.pop(key)(dy.images(n), shard.gradients)
        if dx is not None:
            dx.put(found)

    return Call(line, run)


def _reversed(backs: list[Backward]) -> Backward:
    def back(dy: F32, gradients: dict[str, F32]) -> F32:
        while backs:
            dy = backs.pop()(dy, gradients)
        return dy

    return back
