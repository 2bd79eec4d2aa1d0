"""The plan bound to kernels: forward from the stem to the means, backward from the means to the stem."""

from __future__ import annotations

from dptrain.engine.arena import Arena
from dptrain.engine.plan import Convolution, Plan
from dptrain.engine.weights import LayerWeights
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

    def _bind_forward(self, layer: Convolution):
        wide = self._halved_width(layer.index)
        a, k = layer.inputs, layer.outputs.channels
        return convolution.forward(
            a.channels, k, a.height, a.width, layer.stride, wide, self.plan.kind if wide else 0, layer.group
        )

    def _bind_backward(self, layer: Convolution):
        a, k = layer.inputs, layer.outputs.channels
        kind = self.plan.kind if layer.stride == 2 else 0
        return convolution.backward(a.channels, k, a.height, a.width, layer.stride, kind, layer.group)

    def forward(self, arena: Arena, weights: list[LayerWeights], n: int, *, train: bool) -> None:
        """Pixels to means; with `train` the moments are left in the norms' totals, layer by layer finished by `finish`."""
        raise NotImplementedError
