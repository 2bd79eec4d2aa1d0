"""The plan bound to kernels: forward from the stem to the means, backward from the means to the stem."""

from __future__ import annotations

from collections.abc import Callable

from dptrain.engine.arena import Arena, Norm
from dptrain.engine.plan import Convolution, Plan
from dptrain.engine.weights import Weights
from dptrain.kernels import aligned
from dptrain.kernels.fused import convolution, ends, norm
from dptrain.kernels.fused.image import HALVING, IDENTITY, PLAIN
from dptrain.types import F32


class Passes:
    """Runs the plan over an arena. `n` images lie in the arena's pixels."""

    def __init__(self, plan: Plan, mean: F32, std: F32) -> None:
        self.plan = plan
        stem, last = plan.convolutions[0], plan.convolutions[-1].outputs
        image, width = stem.inputs, self._halved_width(len(plan.convolutions))
        self._table = aligned.empty((image.channels, 256))
        ends.pixel_values(mean, std, self._table)
        shape = (image.channels, stem.outputs.channels, image.height, image.width)
        self._stem, self._stem_back = ends.stem_forward(*shape), ends.stem_backward(*shape)
        tail = (last.channels, last.height, last.width)
        self._tail = ends.tail_forward(*tail, width, plan.kind if width else 0)
        self._tail_back = ends.tail_backward(*tail)
        self._forward = [self._bind_forward(layer) for layer in plan.convolutions[1:]]
        self._backward = [self._bind_backward(layer) for layer in plan.convolutions[1:]]

    def _halved_width(self, index: int) -> int:
        """Width of the wider map, where the map in front of layer `index` is one that can come through a halving
        shortcut; 0 elsewhere. All layers of such a map share a kernel, whether they do or not.
        """
        layers = self.plan.convolutions
        here = layers[index - 1].outputs
        halving = [layer for layer in layers[:index] if layer.index and layer.stride == 2 and layer.outputs == here]
        return halving[-1].inputs.width if halving and self.plan.kind else 0

    def _bind_forward(self, layer: Convolution) -> Callable[..., None]:
        wide = self._halved_width(layer.index)
        a, k = layer.inputs, layer.outputs.channels
        return convolution.forward(
            a.channels, k, a.height, a.width, layer.stride, wide, self.plan.kind if wide else 0, layer.group
        )

    def _bind_backward(self, layer: Convolution) -> Callable[..., None]:
        a, k = layer.inputs, layer.outputs.channels
        kind = self.plan.kind if layer.stride == 2 else 0
        return convolution.backward(a.channels, k, a.height, a.width, layer.stride, kind, layer.group)

    def forward(self, arena: Arena, weights: Weights, n: int, statistics: F32 | None) -> None:
        """From the arena's pixels to its means. statistics (buffers.size,): filled with the shard's; None: the norms'
        rows hold scale and shift already, and stay.
        """
        params, train = weights.params, int(statistics is not None)
        stem, layers = self.plan.convolutions[0], self.plan.convolutions
        norms = arena.norms
        self._stem(
            arena.pixels, self._table, arena.image_frame, weights.layers[0].forward, arena.outputs[0],
            train, norms[0].row, norms[0].total, n,
        )  # fmt: skip
        if statistics is not None:
            self._finish(stem, norms[0], params, statistics, n)
        for layer, run in zip(layers[1:], self._forward, strict=True):
            i = layer.index
            shortcut, size = self._shortcut(arena, i, layer.mode)
            run(
                layer.mode, int(layer.begins_block), arena.outputs[i - 1], norms[i - 1].row, shortcut, size,
                arena.kept_input(layer), weights.layers[i].forward, arena.outputs[i],
                train, norms[i].row, norms[i].total, n, arena.tiles[0], arena.tiles[1],
            )  # fmt: skip
            if statistics is not None:
                self._finish(layer, norms[i], params, statistics, n)
        end, mode = len(layers), self.plan.tail_mode
        shortcut, size = self._shortcut(arena, end, mode)
        self._tail(mode, arena.outputs[-1], norms[-1].row, shortcut, size, arena.kept[end], arena.means, n)

    @staticmethod
    def _finish(layer: Convolution, at: Norm, params: F32, statistics: F32, n: int) -> None:
        count = n * layer.outputs.height * layer.outputs.width
        norm.finish(
            at.total, at.row, at.inverse, params, layer.norm_at, statistics, layer.statistics_at, count, n
        )  # fmt: skip

    def _shortcut(self, arena: Arena, index: int, mode: int) -> tuple[F32, int]:
        """The map that is added to the one in front of layer `index`: the input of the block that ends there."""
        if mode == PLAIN:
            return arena.kept.get(index, arena.image_frame), 0
        return arena.kept[index - 2], self.plan.convolutions[index - 2].inputs.framed

    def backward(self, arena: Arena, weights: Weights, n: int, dmeans: F32, gradient: F32) -> None:
        """From the gradient of the means (n, c) to that of every convolution and BatchNorm, in the flat gradient."""
        layers, norms = self.plan.convolutions, arena.norms
        last = layers[-1]
        arena.means[: dmeans.size] = dmeans.reshape(-1)
        self._tail_back(
            arena.means, arena.kept[len(layers)], arena.outputs[-1], norms[-1].row, arena.outer[last.outputs],
            norms[-1].total, arena.gradients[last.outputs], n,
        )  # fmt: skip
        for layer, run in zip(reversed(layers[1:]), reversed(self._backward), strict=True):
            i, below, packed = layer.index, norms[layer.index - 1], weights.layers[layer.index]
            self._finish_backward(layer, norms[i], gradient, n)
            # The shortcut's gradient waits where the block ended; an identity's lies where this one's sum will.
            mode = PLAIN if not layer.begins_block or not self.plan.kind else HALVING if layer.stride == 2 else IDENTITY
            run(
                mode, int(not layer.begins_block),
                arena.inner[layer.outputs] if layer.begins_block else arena.outer[layer.outputs],
                arena.outputs[i], norms[i].row, below.row, arena.outputs[i - 1], arena.kept_input(layer),
                arena.outer[layer.inputs] if layer.begins_block else arena.inner[layer.inputs],
                arena.outer[layer.outputs],
                packed.backward, packed.classes_at, packed.sums, below.total, n,
                arena.gradient_frames[layer.outputs], arena.gradients[layer.inputs], *arena.tiles,
            )  # fmt: skip
            packed.unpack(gradient)
        stem = layers[0]
        self._finish_backward(stem, norms[0], gradient, n)
        packed = weights.layers[0]
        self._stem_back(
            arena.pixels, self._table, arena.image_frame, arena.outer[stem.outputs], arena.outputs[0], norms[0].row,
            packed.sums, arena.gradients[stem.outputs], n,
        )  # fmt: skip
        packed.unpack(gradient)

    @staticmethod
    def _finish_backward(layer: Convolution, at: Norm, gradient: F32, n: int) -> None:
        count = n * layer.outputs.height * layer.outputs.width
        norm.backward(at.total, at.row, at.inverse, gradient, layer.norm_at, count)
