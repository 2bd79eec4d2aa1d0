"""A chain of the paper's blocks bound to kernels and arrays: calls from the stem to the means, then backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dptrain.engine.arena import Arena
from dptrain.engine.calls import Call, Context, Shard
from dptrain.engine.lines import Line
from dptrain.engine.plan import Convolution, Plan
from dptrain.engine.weights import Weights
from dptrain.kernels.compiled import aligned_empty
from dptrain.kernels.fused import convolution, ends, norm
from dptrain.kernels.fused.image import HALVING, IDENTITY, PLAIN
from dptrain.types import F32


@dataclass(frozen=True, slots=True)
class Forward:
    """One line of the forward pass. `layer` is None for the tail."""

    layer: Convolution | None
    run: Callable[[int, int], None]  #: (1 for training or 0, images)


@dataclass(frozen=True, slots=True)
class Backward:
    """One line of the backward pass: the gradients of this layer's weights and of its inputs."""

    layer: Convolution | None
    run: Callable[[int], None]  #: (images)


class Passes:
    """Every line of the plan with its arrays. `n` is the number of images in the arena's pixels."""

    def __init__(self, plan: Plan, arena: Arena, weights: Weights, table: F32) -> None:
        self._plan, self._arena, self._weights = plan, arena, weights
        stem, *layers = plan.convolutions
        self.forward_lines = [self._stem(stem, table), *(self._layer(layer) for layer in layers), self._tail()]
        back = [self._layer_back(layer) for layer in reversed(layers)]
        self.backward_lines = [self._tail_back(), *back, self._stem_back(stem, table)]

    def forward(self, n: int, statistics: F32 | None) -> None:
        """From the arena's pixels to its means. `statistics` (buffers.size,) is filled with those of the shard.

        None: every BatchNorm keeps the scale and shift that its row already holds.
        """
        for line in self.forward_lines:
            line.run(int(statistics is not None), n)
            if statistics is not None and line.layer is not None:
                self._finish(line.layer, statistics, n)

    def backward(self, n: int, dmeans: F32, gradient: F32) -> None:
        """From the gradient of the means (n, c) to those of all convolutions and BatchNorms, in the flat gradient."""
        self._arena.means[: dmeans.size] = dmeans.reshape(-1)
        for line in self.backward_lines:
            layer = line.layer
            if layer is not None:
                at, count = self._arena.norms[layer.index], n * layer.outputs.pixels
                norm.backward(at.total, at.row, at.inverse, gradient, layer.norm_at, count)
            line.run(n)
            if layer is not None:
                self._weights.layers[layer.index].unpack(gradient)

    def _finish(self, layer: Convolution, statistics: F32, n: int) -> None:
        at, params, count = self._arena.norms[layer.index], self._weights.params, n * layer.outputs.pixels
        norm.finish(at.total, at.row, at.inverse, params, layer.norm_at, statistics, layer.statistics_at, count, n)

    def _stem(self, layer: Convolution, table: F32) -> Forward:
        kernel, arena, at = ends.stem_forward(*_ends(layer)), self._arena, self._arena.norms[0]
        before = (arena.pixels, table, arena.image_frame, self._weights.layers[0].forward, arena.outputs[0])
        return Forward(layer, lambda train, n: kernel(*before, train, at.row, at.total, n))

    def _stem_back(self, layer: Convolution, table: F32) -> Backward:
        kernel, arena, at = ends.stem_backward(*_ends(layer)), self._arena, self._arena.norms[0]
        before = (
            arena.pixels, table, arena.image_frame, arena.outer[layer.outputs], arena.outputs[0], at.row,
            self._weights.layers[0].sums, arena.gradients[layer.outputs],
        )  # fmt: skip
        return Backward(layer, lambda n: kernel(*before, n))

    def _layer(self, layer: Convolution) -> Forward:
        i, wide = layer.index, self._halved_width(layer.index)
        kernel = convolution.forward(
            *_shape(layer), wide, self._plan.kind if wide else 0, layer.group, layer.inputs.tile
        )
        arena, below, at = self._arena, self._arena.norms[i - 1], self._arena.norms[i]
        before = (
            layer.mode, int(layer.begins_block), arena.outputs[i - 1], below.row, *self._shortcut(i, layer.mode),
            arena.kept_input(layer), self._weights.layers[i].forward, arena.outputs[i],
        )  # fmt: skip
        after = (arena.tiles, arena.gradient_tiles)  # there are no gradients yet: their tiles hold the products
        return Forward(layer, lambda train, n: kernel(*before, train, at.row, at.total, n, *after))

    def _layer_back(self, layer: Convolution) -> Backward:
        i, a = layer.index, layer.inputs
        kernel = convolution.backward(
            *_shape(layer), self._plan.kind if layer.stride == 2 else 0, layer.group, layer.inputs.tile
        )
        arena, below, packed = self._arena, self._arena.norms[i - 1], self._weights.layers[i]
        outer, inner = arena.outer, arena.inner
        # The gradient of a shortcut is stored where the block ends. That of an identity is stored where the sum goes.
        mode = PLAIN if not layer.begins_block or not self._plan.kind else HALVING if layer.stride == 2 else IDENTITY
        before = (
            mode, int(not layer.begins_block), inner[layer.outputs] if layer.begins_block else outer[layer.outputs],
            arena.outputs[i], arena.norms[i].row, below.row, arena.outputs[i - 1], arena.kept_input(layer),
            outer[a] if layer.begins_block else inner[a], outer[layer.outputs],
            packed.backward, packed.classes_at, packed.sums, below.total,
        )  # fmt: skip
        after = (
            arena.gradient_frames[layer.outputs], arena.gradients[a],
            arena.tiles, arena.gradient_tiles, arena.products,
        )  # fmt: skip
        return Backward(layer, lambda n: kernel(*before, n, *after))

    def _tail(self) -> Forward:
        end, mode, arena = len(self._plan.convolutions), self._plan.tail_mode, self._arena
        last, wide = self._plan.convolutions[-1].outputs, self._halved_width(end)
        kernel = ends.tail_forward(
            last.channels, last.height, last.width, wide, self._plan.kind if wide else 0, last.tile
        )
        row, shortcut, kept = arena.norms[-1].row, self._shortcut(end, mode), arena.kept[end]
        return Forward(None, lambda _, n: kernel(mode, arena.outputs[-1], row, *shortcut, kept, arena.means, n))

    def _tail_back(self) -> Backward:
        layers, arena = self._plan.convolutions, self._arena
        last, at = layers[-1].outputs, arena.norms[-1]
        kernel = ends.tail_backward(last.channels, last.height, last.width, last.tile)
        kept, g, da = arena.kept[len(layers)], arena.outer[last], arena.gradients[last]
        return Backward(None, lambda n: kernel(arena.means, kept, arena.outputs[-1], at.row, g, at.total, da, n))

    def _halved_width(self, index: int) -> int:
        """The width before halving if the inputs of layer `index` have the shape that a halving shortcut makes, else 0.

        All layers with inputs of that shape share one kernel, with or without such a shortcut.
        """
        layers = self._plan.convolutions
        here = layers[index - 1].outputs
        halving = [layer for layer in layers[:index] if layer.index and layer.stride == 2 and layer.outputs == here]
        return halving[-1].inputs.width if halving and self._plan.kind else 0

    def _shortcut(self, index: int, mode: int) -> tuple[F32, int]:
        """What the shortcut adds to the inputs of layer `index`: the inputs of the block before it. Elements each."""
        if mode == PLAIN:
            return self._arena.image_frame, 0  # not read
        return self._arena.kept[index - 2], self._plan.convolutions[index - 2].inputs.framed


def _ends(stem: Convolution) -> tuple[int, int, int, int, int]:
    return stem.inputs.channels, stem.outputs.channels, stem.inputs.height, stem.inputs.width, stem.inputs.tile


def _shape(layer: Convolution) -> tuple[int, int, int, int, int]:
    a = layer.inputs
    return a.channels, layer.outputs.channels, a.height, a.width, layer.stride


# --- the chain as two lines of a larger plan

_CHAIN = "the chain of the paper's blocks"  #: its place among packed weights; no layer has such a name


class Chain:
    """The passes of a chain of the paper's blocks, and its weights (`dptrain.engine.calls.Packed`)."""

    def __init__(self, plan: Plan, capacity: int, shard: Shard, standard: tuple[F32, F32]) -> None:
        table = aligned_empty((len(standard[1]), 256))
        ends.pixel_values(*standard, table)
        self._plan, self._shard = plan, shard
        self.weights = Weights(plan.convolutions, shard.params)
        self.arena = Arena(plan, capacity, shard.pixels)
        self.passes = Passes(plan, self.arena, self.weights, table)

    def pack(self, params: F32) -> None:
        """Packs the weights of all convolutions."""
        for layer in self.weights.layers:
            layer.pack(params)

    def running(self, buffers: F32) -> None:
        """Every BatchNorm's scale and shift from the running statistics."""
        for layer, at in zip(self._plan.convolutions, self.arena.norms, strict=True):
            norm.running(at.row, self._shard.params, layer.norm_at, buffers, layer.statistics_at)


def chain(b: Context, line: Line) -> Call:
    """A chain of the paper's blocks, from pixels to means."""
    found, shard, y = made(b), b.shard, b.memory.places[line.writes[0]]

    def run(_: int, n: int) -> None:
        found.passes.forward(n, shard.statistics if shard.run.training else None)
        y.put(found.arena.means.reshape(found.arena.capacity, -1)[:n])

    return Call(line, run)


def chain_back(b: Context, line: Line) -> Call:
    """Its backward pass."""
    found, shard, dy = made(b), b.shard, b.memory.places[line.reads[0]]
    return Call(line, lambda _, n: found.passes.backward(n, dy.images(n), shard.gradient))


def made(b: Context) -> Chain:
    """The chain, made by the first of its two lines."""
    found = b.packed.get(_CHAIN)
    if not isinstance(found, Chain):
        assert b.plan.chain is not None
        found = b.packed[_CHAIN] = Chain(b.plan.chain, b.memory.capacity, b.shard, b.standard)
        b.running.append(found.running)
    return found
