"""A trained network as a function of float pixels with a gradient by the pixels: for saliency and fooling.

The backward pass of training goes through the statistics of the batch, and stops before the image. So the layers are
copied with two changes: BatchNorm is the linear function that it is in evaluation, and the first convolution returns
the gradient of its input.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import numpy as np

from dptrain.errors import UsageError
from dptrain.model import ParamLayout, ParamSpec
from dptrain.nn.layer import Backward, Layer, Run, StandIn
from dptrain.nn.norm import EPSILON, BatchNorm
from dptrain.nn.resnet import Identity
from dptrain.types import F32, Floats


@dataclass(frozen=True, slots=True)
class FrozenBatchNorm(StandIn):
    """BatchNorm with its running statistics: (n, ..., channels) -> scale x + shift."""

    of: BatchNorm

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        """Its own gradients are not written: nothing is learned here."""
        name = self.of.name
        variance = run.buffers[f"{name}.running_var"].astype(np.float64)
        scale = run.params.get(f"{name}.weight", np.ones(1)) / np.sqrt(variance + EPSILON)
        moved = run.params.get(f"{name}.bias", np.zeros(1)) - run.buffers[f"{name}.running_mean"] * scale
        factor, shift = scale.astype(x.dtype), moved.astype(x.dtype)
        return x * factor + shift, lambda dy, gradients: dy * factor


class Frozen:
    """The network. Pixels are floats (n, h, w, c) in units of 0 ... 255; `mean` and `std` as in `nn.NetworkModel`."""

    def __init__(self, network: Layer, params: F32, buffers: F32, mean: Floats, std: Floats, tile: int = 4) -> None:
        self._layers = cast(Layer, _frozen(network))
        self._layout = ParamLayout(network.params)
        self._params = self._layout.views(params)
        self._buffers = ParamLayout(network.buffers).views(buffers)
        self._mean, self._std = mean, std
        self._tile = tile  #: the largest one of Winograd's convolutions

    def logits(self, pixels: Floats) -> Floats:
        """(n, h, w, c) -> (n, classes)."""
        return self._forward(pixels)[0]

    def gradient(self, pixels: Floats, weights: Floats) -> tuple[Floats, Floats]:
        """Logits (n, classes), and the gradient of sum(weights * logits) by the pixels (n, h, w, c)."""
        logits, backward = self._forward(pixels)
        return logits, self._back(backward, weights.astype(logits.dtype), pixels)

    def loss_gradient(self, pixels: Floats, targets: Any) -> tuple[Floats, Floats]:  # noqa: ANN401  # int array
        """Logits, and the gradient by the pixels of each image's -log p(its target)."""
        logits, backward = self._forward(pixels)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        wanted = np.zeros_like(logits)
        wanted[np.arange(len(logits)), targets] = 1
        return logits, self._back(backward, odds / odds.sum(axis=1, keepdims=True) - wanted, pixels)

    def _forward(self, pixels: Floats) -> tuple[Floats, Backward]:
        dtype = pixels.dtype
        run = Run({n: a.astype(dtype) for n, a in self._params.items()}, self._buffers, training=True, tile=self._tile)
        x = (pixels - self._mean.astype(dtype)) / self._std.astype(dtype)
        return self._layers(run, np.ascontiguousarray(x))

    def _back(self, backward: Backward, dlogits: Floats, pixels: Floats) -> Floats:
        unused = {spec.name: np.empty(spec.shape, pixels.dtype) for spec in self._layout.specs}
        dx = backward(dlogits, unused)
        if dx.shape != pixels.shape:
            raise UsageError(
                "this network's first layer gives no gradient of its input: it cannot be explained this way"
            )
        by_pixels: Floats = dx / self._std.astype(pixels.dtype)
        return by_pixels


def _frozen(part: object) -> object:
    """The same layer, or container of layers, with the two changes described above."""
    if isinstance(part, BatchNorm):
        return FrozenBatchNorm(part)
    if isinstance(part, tuple):
        return tuple(_frozen(item) for item in part)
    if not is_dataclass(part) or isinstance(part, type | ParamSpec):
        return part
    if type(part).__name__ == "Dropout":
        return Identity()  # does nothing in evaluation
    changed = {
        f.name: new for f in fields(part) if f.init and (new := _frozen(old := getattr(part, f.name))) is not old
    }
    if getattr(part, "first", False):
        changed["first"] = False
    return replace(part, **changed) if changed else part
