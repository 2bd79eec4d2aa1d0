"""What the lines of a plan are bound to: arrays, weights and numbers of layers, and what a shard brings along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dptrain.engine.lines import Line, Lines
from dptrain.engine.memory import Memory
from dptrain.kernels.compiled import aligned_zeros
from dptrain.kernels.fused import channels
from dptrain.kernels.winograd import scratch
from dptrain.model import ParamLayout
from dptrain.nn.layer import Backward, Run
from dptrain.nn.norm import BatchNorm
from dptrain.types import F32, I64, U8


@dataclass
class Shard:
    """What the lines of one pass share besides the arrays."""

    params: F32  #: our own copy
    pixels: U8  #: (capacity, h, w, c)
    gradient: F32 = field(default_factory=lambda: np.zeros(0, np.float32))  #: flat, written by the backward pass
    statistics: F32 = field(default_factory=lambda: np.zeros(0, np.float32))  #: flat, written by the forward pass
    gradients: dict[str, F32] = field(default_factory=dict)  #: views of `gradient`
    run: Run = field(default_factory=lambda: Run({}, {}, training=False))  #: for the layers of dptrain.nn


@dataclass(frozen=True, slots=True)
class Call:
    """One bound line. `run(first, count)` takes a group of images; begin and end run once per shard of n images."""

    line: Line
    run: Callable[[int, int], None]
    begin: Callable[[], None] | None = None
    end: Callable[[int], None] | None = None


class Packed(Protocol):
    """Weights in the form in which passes read them."""

    def pack(self, params: F32) -> None:
        """Reads the weights out of the flat parameters."""
        ...


class Numbers:
    """The numbers of one BatchNorm (kernels/fused/channels.py)."""

    def __init__(self, layer: BatchNorm, length: int) -> None:
        c = layer.channels
        self.total, self.squares, self.weighted, self.mean, self.inverse = (np.zeros(c) for _ in range(5))
        self.mean4, self.chains, self.products = (aligned_zeros((4 * c,)) for _ in range(3))
        self.rows = aligned_zeros((5, length))


class Context:
    """All that lines are bound to, for shards of up to so many images as the memory has room for."""

    def __init__(
        self,
        memory: Memory,
        plan: Lines,
        shard: Shard,
        layouts: tuple[ParamLayout, ParamLayout],
        standard: tuple[F32, F32],
    ) -> None:
        self.memory, self.plan, self.shard, self.standard = memory, plan, shard, standard
        self.values = plan.values
        self.params = {spec.name: at for spec, at in layouts[0].items()}  #: offsets
        self.buffers = {spec.name: at for spec, at in layouts[1].items()}
        self.packed: dict[str, Packed] = {}  #: by the name of the layer
        self.numbers: dict[str, Numbers] = {}
        self.backs: dict[int, Backward] = {}  #: of layers of dptrain.nn, by the key of their line
        self.running: list[Callable[[F32], None]] = [self._running]  #: take the running statistics
        self._scratch: dict[tuple[int, int, int], F32] = {}

    def array(self, number: int) -> F32:
        """The array of a value."""
        return self.memory.places[number].array

    def rows(self, number: int, *others: int) -> I64:
        """The operands `number` and others, row by row of the first one's image."""
        h, w, c = self.values[number].shape
        return self.memory.operands(h, w * c, number, *others)

    def whole(self, number: int, *others: int) -> I64:
        """The same; as one row per image if all images lie without gaps. For sums: they do not care about rows."""
        h, w, c = self.values[number].shape
        dense = all(self.values[v].grid[1] == w for v in (number, *others))
        return self.memory.operands(*((1, h * w * c) if dense else (h, w * c)), number, *others)

    def scratch(self, channels_: int, tile: int, which: int) -> F32:
        """Room for transformed tiles; a pass uses two at a time, `which` 0 and 1."""
        key = (channels_, tile, which)
        if key not in self._scratch:
            self._scratch[key] = scratch(channels_, tile)
        return self._scratch[key]

    def norm(self, line: Line, number: int) -> tuple[BatchNorm, Numbers, int]:
        """The BatchNorm of a line, its numbers, and the pixels of an image of value `number`."""
        layer = line.layers[0]
        assert isinstance(layer, BatchNorm)
        h, w, c = self.values[number].shape
        if layer.name not in self.numbers:
            self.numbers[layer.name] = Numbers(layer, w * c)
        return layer, self.numbers[layer.name], h * w

    def gamma(self, layer: BatchNorm) -> int:
        """Where the scale of a BatchNorm lies in the flat parameters; -1: it has none."""
        return self.params[f"{layer.name}.weight"] if layer.affine else -1

    def _running(self, buffers: F32) -> None:
        for name, at in self.numbers.items():
            gamma, place = self.params.get(f"{name}.weight", -1), self.buffers[f"{name}.running_mean"]
            channels.take_running(buffers, place, at.mean, at.inverse, self.shard.params, gamma, at.rows)
