"""The layers of a network in order: the shapes that go in and out of each, and its number of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np

from dptrain.model import ParamLayout
from dptrain.nn.initialise import initial_params
from dptrain.nn.layer import Backward, Layer, Run, Signal, StandIn
from dptrain.nn.network import Network, children


class Row(NamedTuple):
    """One layer that contains no others."""

    depth: int  #: containers around it
    layer: str  #: its class and the fields that differ from their defaults
    given: str  #: shape of the input without the first axis, "32x32x3"
    made: str  #: shape of the output
    params: int


def describe(network: Network) -> list[Row]:
    """One row per layer, in the order of computation. Runs two blank images in float64, which compiles nothing."""
    image = network.image
    x = np.zeros((2, image.height, image.width, image.channels))
    layout = ParamLayout(network.network.params)
    params = layout.views(initial_params(layout, 0).astype(np.float64))
    rows: list[Row] = []
    _watched(network.network, rows, 0)(Run(params, {}, training=True), x)
    return rows


def table(rows: list[Row]) -> Iterator[str]:
    """Lines of text: columns aligned, a sum at the end."""
    names = ["  " * row.depth + row.layer for row in rows]
    width, given = max(map(len, names), default=0), max((len(row.given) for row in rows), default=0)
    made = max((len(row.made) for row in rows), default=0)
    for name, row in zip(names, rows, strict=True):
        count = f"{row.params:>12,}" if row.params else ""
        yield f"{name:<{width}}  {row.given:>{given}} -> {row.made:<{made}}{count}".rstrip()
    yield f"{len(rows)} layers, {sum(row.params for row in rows):,} parameters"


@dataclass(frozen=True, slots=True)
class _Watched(StandIn):
    """A layer that records a row when it runs."""

    rows: list[Row] = field(repr=False)
    depth: int

    def __call__(self, run: Run, x: Signal) -> tuple[Signal, Backward]:
        y, backward = self.of(run, x)
        learns = sum(spec.size for spec in self.of.params)
        self.rows.append(Row(self.depth, _constructed(self.of), _shape(x), _shape(y), learns))
        return y, backward


def _watched(layer: Layer, rows: list[Row], depth: int) -> Layer:
    """The same network, in which every layer that contains no others records a row."""
    if not any(children(layer)):
        return _Watched(layer, rows, depth)

    def inner(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(inner(item) for item in value)
        is_layer = callable(value) and hasattr(value, "params") and hasattr(value, "buffers")
        return _watched(cast(Layer, value), rows, depth + 1) if is_layer else value

    container = cast(Any, layer)  # a dataclass: it has children
    made = replace(container, **{f.name: inner(getattr(container, f.name)) for f in fields(container) if f.init})
    return cast(Layer, made)


def _constructed(layer: object) -> str:
    """`Convolution(conv1, 3, 16)`: the class and the fields that differ from their defaults."""
    shown = []
    for f in fields(layer) if is_dataclass(layer) else ():
        value = getattr(layer, f.name)
        if f.name in ("params", "buffers") or value == f.default or not f.repr:
            continue
        shown.append(
            str(value) if isinstance(value, str | int) and not isinstance(value, bool) else f"{f.name}={value}"
        )
    return f"{type(layer).__name__}({', '.join(shown)})" if shown else type(layer).__name__


def _shape(x: Signal) -> str:
    if isinstance(x, tuple):
        return " and ".join(_shape(part) for part in x)
    return "x".join(map(str, x.shape[1:]))
