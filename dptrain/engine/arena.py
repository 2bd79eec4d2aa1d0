"""The memory of an engine: activations and scratch for the largest shard so far, and vectors for results.

A result outlives its shard: its vectors are used again when nothing holds them any more.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from dptrain.engine.plan import LARGEST_GROUP, Convolution, Plan, Shape
from dptrain.kernels.compiled import aligned_zeros
from dptrain.kernels.winograd import scratch
from dptrain.types import F32, F64, U8

_Key: TypeAlias = tuple[str, int]
_LINE = 32  #: float32 in two cache lines: every array begins at a multiple of that


class Norm:
    """The numbers of one BatchNorm that its passes share (kernels/fused/norm.py)."""

    def __init__(self, channels: int) -> None:
        self.row: F32 = aligned_zeros((5 * channels,))
        self.inverse: F64 = np.zeros(channels)
        self.total: F64 = np.zeros(2 * channels)


class Arena:
    """Arrays for shards of up to `capacity` images, cut from one block: only a large block gets large pages."""

    def __init__(self, plan: Plan, capacity: int, pixels: U8) -> None:
        layers = plan.convolutions
        image, last = layers[0].inputs, layers[-1].outputs
        shapes = list(dict.fromkeys(layer.outputs for layer in layers))
        kept = {layer.index: layer.inputs for layer in layers if layer.begins_block} | {len(layers): last}
        sizes = {("output", layer.index): capacity * layer.outputs.bare for layer in layers}
        sizes |= {("kept", index): capacity * shape.framed for index, shape in kept.items()}
        sizes |= {("outer", i): capacity * shape.bare for i, shape in enumerate(shapes)}
        sizes |= {("inner", i): capacity * shape.bare for i, shape in enumerate(shapes)}
        sizes |= {("frame", i): LARGEST_GROUP * shape.framed for i, shape in enumerate(shapes)}
        sizes |= {("gradient frame", i): LARGEST_GROUP * shape.framed for i, shape in enumerate(shapes)}
        sizes |= {("image frame", 0): image.framed}
        sizes |= {("gradient", i): LARGEST_GROUP * shape.bare for i, shape in enumerate(shapes)}
        arrays = cut(sizes)

        def by_shape(name: str) -> dict[Shape, F32]:
            return {shape: arrays[name, i] for i, shape in enumerate(shapes)}

        self.capacity, self.pixels = capacity, pixels
        self.outputs = [arrays["output", layer.index] for layer in layers]
        #: the inputs of every layer that begins a block, and under the index behind the last layer those of the tail
        self.kept = {index: arrays["kept", index] for index in kept}
        #: gradients behind a BatchNorm: at the end of a block, where the shortcut leaves; and inside a block
        self.outer, self.inner = by_shape("outer"), by_shape("inner")
        #: for a group of images; the zeros of a frame are there from the beginning and stay
        self.frames, self.gradient_frames = by_shape("frame"), by_shape("gradient frame")
        self.gradients = by_shape("gradient")
        self.image_frame, self.means = arrays["image frame", 0], aligned_zeros((capacity * last.channels,))
        self.norms = [Norm(layer.outputs.channels) for layer in layers]
        #: Winograd tiles in transformed form, with room for every layer: of inputs, of gradients, of products
        self.tiles, self.gradient_tiles, self.products = (scratch(last.channels, image.tile) for _ in range(3))

    def kept_input(self, layer: Convolution) -> F32:
        """The array of the layer's inputs: kept for the whole shard, or scratch for one group of images."""
        return self.kept[layer.index] if layer.begins_block else self.frames[layer.inputs]


def cut(sizes: dict[_Key, int]) -> dict[_Key, F32]:
    """Zeros for each key, out of one allocation. No two arrays share a cache line."""
    padded = {key: -(-size // _LINE) * _LINE for key, size in sizes.items()}
    block, at, arrays = aligned_zeros((sum(padded.values()),)), 0, {}
    for key, size in sizes.items():
        arrays[key] = block[at : at + size]
        at += padded[key]
    return arrays


class Vectors:
    """Vectors of one length, for one thread. Their holders may be in any thread: trees, messages, sockets.

    Memory comes back by itself when the last array or buffer over it is gone. A holder that keeps a result for ever
    costs a fresh vector, and never a wrong one: memory that a result still shows is never written.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[F32] = []  #: memory that no result uses

    def take(self) -> F32:
        """Zeros, (size,). A run makes two to four vectors: one is written while others are on their way."""
        memory = self._free.pop() if self._free else np.empty(self._size, np.float32)
        memory[...] = 0.0
        return np.asarray(_Loan(memory, self._free))


class _Loan:
    """Owns the memory of one vector while the vector is in use: NumPy, views and sockets keep this object alive."""

    def __init__(self, memory: F32, free: list[F32]) -> None:
        self.__array_interface__ = memory.__array_interface__
        self._memory, self._free = memory, free

    def __del__(self) -> None:
        self._free.append(self._memory)
