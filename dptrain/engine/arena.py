"""The memory of an engine: every map of a shard, and the scratch of the passes, once, for the largest shard seen."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from dptrain.engine.geometry import Map
from dptrain.engine.plan import LARGEST_GROUP, Convolution, Plan
from dptrain.kernels.compiled import aligned_zeros
from dptrain.kernels.winograd import scratch
from dptrain.types import F32, F64, U8

_Key: TypeAlias = tuple[str, int]
_LINE = 32  #: float32 in two cache lines: every array begins on a multiple of that


class Norm:
    """What BatchNorm has in hand between the passes (kernels/fused/norm.py)."""

    def __init__(self, channels: int) -> None:
        self.row: F32 = aligned_zeros((5 * channels,))
        self.inverse: F64 = np.zeros(channels)
        self.total: F64 = np.zeros(2 * channels)


class Arena:
    """Arrays for shards of up to `capacity` images, cut from one block: only a large block gets large pages."""

    def __init__(self, plan: Plan, capacity: int) -> None:
        layers = plan.convolutions
        image, last = layers[0].inputs, layers[-1].outputs
        maps = list(dict.fromkeys(layer.outputs for layer in layers))
        kept = {layer.index: layer.inputs for layer in layers if layer.begins_block} | {len(layers): last}
        sizes = {("output", layer.index): capacity * layer.outputs.bare for layer in layers}
        sizes |= {("kept", index): capacity * where.framed for index, where in kept.items()}
        sizes |= {("outer", i): capacity * where.bare for i, where in enumerate(maps)}
        sizes |= {("inner", i): capacity * where.bare for i, where in enumerate(maps)}
        sizes |= {("frame", i): LARGEST_GROUP * where.framed for i, where in enumerate(maps)}
        sizes |= {("gradient frame", i): LARGEST_GROUP * where.framed for i, where in enumerate(maps)}
        sizes |= {("image frame", 0): image.framed}
        sizes |= {("gradient", i): LARGEST_GROUP * where.bare for i, where in enumerate(maps)}
        arrays = _cut(sizes)

        def by_map(name: str) -> dict[Map, F32]:
            return {where: arrays[name, i] for i, where in enumerate(maps)}

        self.capacity = capacity
        self.pixels: U8 = np.zeros((capacity, image.height, image.width, image.channels), np.uint8)
        self.outputs = [arrays["output", layer.index] for layer in layers]
        #: the input map of every layer that begins a block, and behind the last layer of the tail
        self.kept = {index: arrays["kept", index] for index in kept}
        #: gradients after a BatchNorm: at the end of a block, where the shortcut leaves; and within it
        self.outer, self.inner = by_map("outer"), by_map("inner")
        #: of a group of images; the frames' zeros are there from the beginning and stay
        self.frames, self.gradient_frames, self.gradients = (
            by_map("frame"),
            by_map("gradient frame"),
            by_map("gradient"),
        )
        self.image_frame, self.means = arrays["image frame", 0], aligned_zeros((capacity * last.channels,))
        self.norms = [Norm(layer.outputs.channels) for layer in layers]
        #: Winograd tiles in transformed form, enough for every layer: of inputs, of gradients, of products
        self.tiles, self.gradient_tiles, self.products = (scratch(last.channels) for _ in range(3))

    def kept_input(self, layer: Convolution) -> F32:
        """Where the layer's input map is: kept for the whole shard, or scratch of a group."""
        return self.kept[layer.index] if layer.begins_block else self.frames[layer.inputs]


def _cut(sizes: dict[_Key, int]) -> dict[_Key, F32]:
    """Zeros for each, out of one allocation; no two arrays share a cache line."""
    padded = {key: -(-size // _LINE) * _LINE for key, size in sizes.items()}
    block, at, arrays = aligned_zeros((sum(padded.values()),)), 0, {}
    for key, size in sizes.items():
        arrays[key] = block[at : at + size]
        at += padded[key]
    return arrays
