"""The memory of an engine: every map of a shard, and the scratch of the passes, once, for the largest shard seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dptrain.engine.geometry import Map
from dptrain.engine.plan import Convolution, Plan
from dptrain.kernels import aligned
from dptrain.kernels.conv.winograd import scratch
from dptrain.types import F32, F64, U8


class Norm:
    """What BatchNorm has in hand between the passes (kernels/fused/norm.py)."""

    def __init__(self, channels: int) -> None:
        self.row: F32 = aligned.zeros((5 * channels,))
        self.inverse: F64 = np.zeros(channels)
        self.total: F64 = np.zeros(2 * channels)


class Arena:
    """Arrays for shards of up to `capacity` images; all flat, all aligned."""

    def __init__(self, plan: Plan, capacity: int) -> None:
        layers = plan.convolutions
        self.capacity = capacity
        image, last = layers[0].inputs, layers[-1].outputs
        self.pixels: U8 = np.zeros((capacity, image.height, image.width, image.channels), np.uint8)
        self.outputs = [aligned.zeros((capacity * layer.outputs.bare,)) for layer in layers]
        #: the input map of every layer that begins a block, and behind the last layer: of the tail; the others' is scratch
        self.kept = {
            layer.index: aligned.zeros((capacity * layer.inputs.framed,)) for layer in layers if layer.begins_block
        } | {len(layers): aligned.zeros((capacity * last.framed,))}
        #: gradients after a BatchNorm: at the end of a block, where the shortcut leaves, and within it
        self.outer: dict[Map, F32] = self._by_map(plan, lambda m: aligned.zeros((capacity * m.bare,)))
        self.inner: dict[Map, F32] = self._by_map(plan, lambda m: aligned.zeros((capacity * m.bare,)))
        self.norms = [Norm(layer.outputs.channels) for layer in layers]
        self.means: F32 = aligned.zeros((capacity * last.channels,))
        self.image_frame: F32 = aligned.zeros((image.framed,))
        #: scratch of a group of images; frames of zeros are written here, once
        self.frames: dict[Map, F32] = self._by_map(plan, lambda m: aligned.zeros((4 * m.framed,)))
        self.gradient_frames: dict[Map, F32] = self._by_map(plan, lambda m: aligned.zeros((4 * m.framed,)))
        self.gradients: dict[Map, F32] = self._by_map(plan, lambda m: aligned.zeros((4 * m.bare,)))
        self.tiles: list[F32] = [scratch(last.channels) for _ in range(3)]

    @staticmethod
    def _by_map(plan: Plan, make: Callable[[Map], F32]) -> dict[Map, F32]:
        return {m: make(m) for m in dict.fromkeys(layer.outputs for layer in plan.convolutions)}

    def kept_input(self, layer: Convolution) -> F32:
        """Where the layer's input map is: kept for the whole shard, or scratch of a group."""
        return self.kept[layer.index] if layer.begins_block else self.frames[layer.inputs]

    @property
    def nbytes(self) -> int:
        """Bytes of all maps."""
        maps = [*self.outputs, *self.kept.values(), *self.outer.values(), *self.inner.values()]
        return sum(array.nbytes for array in maps)
