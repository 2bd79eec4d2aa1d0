"""A layer's weights in matrix tiles, in bf16, for both directions; and the sums its weight gradient is made from."""

from __future__ import annotations

import numpy as np

from dptrain.engine.plan import Convolution
from dptrain.engine.weights import CLASSES
from dptrain.kernels import aligned
from dptrain.kernels.fused.tileweights import pack, unpack
from dptrain.kernels.intrinsics.strips import DEPTH, SIDE, blocks
from dptrain.types import F32, I64, U16, Maps


class TileWeights:
    """Of one convolution."""

    def __init__(self, layer: Convolution) -> None:
        c, k = layer.inputs.channels, layer.outputs.channels
        self._layer, self._shape = layer, (k, c, 3, 3)
        self._slice = slice(layer.weight_at, layer.weight_at + k * c * 9)
        #: taps of each set of weights for the way back: all of them, or (stride 2) those that reach a pixel
        self._taps = () if layer.index == 0 else ((3, 3),) if layer.stride == 1 else CLASSES
        self._forward = _room(c, k, 3, 3)
        sizes = [_room(k, c, r, s).size for r, s in self._taps]
        self.forward: Maps = self._forward.reshape(-1)
        self.backward: Maps = aligned.zeros_bf16((sum(sizes),))
        self.classes_at: I64 = np.cumsum([0, *sizes, 0, 0, 0])[:4]
        parts = zip(self._taps, self.classes_at, sizes, strict=False)
        self._backward = [self.backward[at : at + n].reshape(_shape(k, c, r, s)) for (r, s), at, n in parts]
        self._sums = aligned.zeros((blocks(c, SIDE), blocks(k, SIDE), 3, 3, SIDE, SIDE))
        self.sums: F32 = self._sums.reshape(-1)
        self._wide = aligned.empty((max([self.forward.size, *sizes]),))

    def pack(self, params: F32) -> None:
        """Reads the layer's weights out of the flat parameters, and rounds them."""
        weights = params[self._slice].reshape(self._shape)
        pack(weights, self._forward, self._wide, 0, 0, 1, 3, False)  # noqa: FBT003
        step = self._layer.stride
        for (r, s), packed in zip(self._taps, self._backward, strict=True):
            first = (0, 0) if step == 1 else (2 - r, 2 - s)
            pack(weights, packed, self._wide, *first, step, s, True)  # noqa: FBT003

    def unpack(self, gradient: F32) -> None:
        """Writes the layer's weight gradient into the flat gradient, from the sums."""
        unpack(self._sums, gradient[self._slice].reshape(self._shape))


def _shape(inputs: int, outputs: int, r: int, s: int) -> tuple[int, ...]:
    return blocks(outputs, SIDE), r, blocks(s * inputs, DEPTH), SIDE, SIDE, 2


def _room(inputs: int, outputs: int, r: int, s: int) -> U16:
    return aligned.zeros_bf16(_shape(inputs, outputs, r, s))
