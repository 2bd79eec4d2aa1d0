"""The weights as the passes read them: packed once for all shards of a step. Gradients are unpacked the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dptrain.engine.plan import Convolution
from dptrain.kernels.codegen.registers import lanes
from dptrain.kernels.compiled import aligned_empty
from dptrain.kernels.conv import pack, unpack
from dptrain.kernels.winograd import positions, transform_weights, weights_from_sums
from dptrain.types import F32, I64

#: Stride 2: rows and columns of taps that reach a pixel of the inputs, by the parity of its row and column.
CLASSES = ((1, 1), (1, 2), (2, 1), (2, 2))


class LayerWeights:
    """The weights of one convolution, packed for both directions, and the sums from which its weight gradient is made.

    They are transformed if the convolution runs as Winograd's, else they lie in register blocks. `forward`, `backward`
    and `sums` are flat. The weights for class i of CLASSES begin at `backward[classes_at[i]]`.
    """

    def __init__(self, layer: Convolution) -> None:
        c, k = layer.inputs.channels, layer.outputs.channels
        self._layer, self._shape = layer, (k, c, 3, 3)
        self._slice = slice(layer.weight_at, layer.weight_at + k * c * 9)
        if layer.tile:
            self._forward = aligned_empty((positions(layer.tile), k // lanes(k), c, lanes(k)))
            self._backward = [aligned_empty((positions(layer.tile), c // lanes(c), k, lanes(c)))]
            self._sums = aligned_empty(self._forward.shape)
            self.backward: F32 = self._backward[0].reshape(-1)
            self.classes_at: I64 = np.zeros(4, np.int64)
        else:
            self._forward = aligned_empty((k // lanes(k), 3, 3, c, lanes(k)))
            self._sums = aligned_empty(self._forward.shape)
            self._backward, self.backward, self.classes_at = [], aligned_empty((0,)), np.zeros(4, np.int64)
            if layer.index > 0:
                self._make_classes(c, k)
        self.forward: F32 = self._forward.reshape(-1)
        self.sums: F32 = self._sums.reshape(-1)

    def _make_classes(self, c: int, k: int) -> None:
        sizes = [r * s * c * k for r, s in CLASSES]
        self.backward = aligned_empty((sum(sizes),))
        self.classes_at = np.cumsum([0, *sizes[:-1]])
        parts = zip(CLASSES, self.classes_at, sizes, strict=True)
        width = lanes(c)
        self._backward = [self.backward[a : a + n].reshape(c // width, r, s, k, width) for (r, s), a, n in parts]

    def pack(self, params: F32) -> None:
        """Reads the layer's weights out of the flat parameters."""
        weights = params[self._slice].reshape(self._shape)
        if self._layer.tile:
            transform_weights(weights, self._forward, flip=False)
            transform_weights(weights, self._backward[0], flip=True)
            return
        pack(weights, self._forward, 0, 0, 1, flip=False)
        for (r, s), packed in zip(CLASSES, self._backward, strict=False):
            pack(weights, packed, 2 - r, 2 - s, 2, flip=True)

    def unpack(self, gradient: F32) -> None:
        """Writes the layer's weight gradient into the flat gradient, from the sums."""
        out = gradient[self._slice].reshape(self._shape)
        if self._layer.tile:
            weights_from_sums(self._sums, out)
        else:
            unpack(self._sums, out)


class Weights:
    """The packed weights of all convolutions, and the flat parameters from which they are packed."""

    def __init__(self, convolutions: Sequence[Convolution], params: F32) -> None:
        self.layers, self.params = [LayerWeights(layer) for layer in convolutions], params
