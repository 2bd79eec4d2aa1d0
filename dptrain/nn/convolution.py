"""Convolution, its transpose, and the linear layer: a 1 x 1 convolution over images of one pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np

from dptrain.kernels import conv
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Pair, Run, channel_sums, cropped, dilated, framed, pair
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Convolution:
    """(n, h, w, inputs) -> (n, p, q, outputs); p = (h + 2 pad - taps) // stride + 1.

    Weights (outputs, inputs, taps, taps). No bias by default, because the BatchNorm that follows has one. Taps, stride
    and pad are one number, or a pair (rows, columns).
    """

    name: str
    inputs: int
    outputs: int
    taps: int | Pair = 3
    stride: int | Pair = 1
    pad: int | Pair = 1
    first: bool = False  #: of the network: it needs no input gradient, so backward returns an empty array
    bias: bool = False
    init: str = "kaiming"

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """The weights, and the bias if there is one."""
        taps = pair(self.taps)
        fan = (self.inputs * prod(taps), self.outputs * prod(taps))
        weights = ParamSpec(f"{self.name}.weight", (self.outputs, self.inputs, *taps), init=self.init, fan=fan)
        return (weights, ParamSpec(f"{self.name}.bias", (self.outputs,), decay=False)) if self.bias else (weights,)

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        return ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        weights, taps = run.params[f"{self.name}.weight"], pair(self.taps)
        (stride, keep), (pad, frame) = _step(pair(self.stride)), _frame(pair(self.pad))
        seen = framed(x, frame)
        whole = conv.forward(seen, weights, stride, pad, run.tile)
        y = np.ascontiguousarray(whole[:, :: keep[0], :: keep[1]])
        if self.bias:
            y = y + run.params[f"{self.name}.bias"]

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            if self.bias:
                gradients[f"{self.name}.bias"][...] = channel_sums(dy)
            dense = dilated(dy, keep, whole.shape[1:3])
            gradients[f"{self.name}.weight"][...] = conv.weight_gradient(seen, dense, taps, stride, pad, run.tile)
            if self.first:
                return np.empty(0, dy.dtype)
            return cropped(conv.input_gradient(dense, weights, seen.shape[1:3], stride, pad, run.tile), frame)

        return y, backward


@dataclass(frozen=True, slots=True)
class FullConvolution:
    """(n, p, q, inputs) -> (n, h, w, outputs), a transposed convolution; h = (p - 1) stride - 2 pad + taps + extra.

    Weights (inputs, outputs, taps, taps), as in Torch. `extra` rows and columns at the end, fewer than `stride`.
    """

    name: str
    inputs: int
    outputs: int
    taps: int | Pair = 3
    stride: int = 1
    pad: int = 0
    extra: int | Pair = 0
    bias: bool = True
    init: str = "fan-in"

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """The weights, and the bias if there is one."""
        taps = pair(self.taps)
        fan = (self.inputs * prod(taps), self.outputs * prod(taps))
        weights = ParamSpec(f"{self.name}.weight", (self.inputs, self.outputs, *taps), init=self.init, fan=fan)
        return (weights, ParamSpec(f"{self.name}.bias", (self.outputs,), decay=False)) if self.bias else (weights,)

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        return ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        weights, taps, extra = run.params[f"{self.name}.weight"], pair(self.taps), pair(self.extra)
        if max(extra) >= self.stride:
            raise ValueError(f"{self.name}: extra = {self.extra} must be less than stride = {self.stride}")
        height = (x.shape[1] - 1) * self.stride - 2 * self.pad + taps[0] + extra[0]
        width = (x.shape[2] - 1) * self.stride - 2 * self.pad + taps[1] + extra[1]
        y = conv.input_gradient(x, weights, (height, width), self.stride, self.pad, run.tile)
        if self.bias:
            y = y + run.params[f"{self.name}.bias"]

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            if self.bias:
                gradients[f"{self.name}.bias"][...] = channel_sums(dy)
            gradients[f"{self.name}.weight"][...] = conv.weight_gradient(dy, x, taps, self.stride, self.pad, run.tile)
            return conv.forward(dy, weights, self.stride, self.pad, run.tile)

        return y, backward


def _step(stride: Pair) -> tuple[int, Pair]:
    """(stride of the kernel call, steps between the outputs kept): the kernels have one stride for both axes."""
    return (stride[0], (1, 1)) if stride[0] == stride[1] else (1, stride)


def _frame(pad: Pair) -> tuple[int, Pair]:
    """(pad of the kernel call, frame put around the image first): the kernels have one pad for both axes."""
    return (pad[0], (0, 0)) if pad[0] == pad[1] else (0, pad)


@dataclass(frozen=True, slots=True)
class Linear:
    """(n, inputs) -> (n, outputs): x w' + b. Weights (outputs, inputs), bias (outputs,)."""

    name: str
    inputs: int
    outputs: int
    init: str = "torch"  #: of the weights; with "torch" the bias is drawn in the same way, else it is 0

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Weights and bias."""
        fan = (self.inputs, self.outputs)
        bias = "torch" if self.init == "torch" else "zeros"
        return (
            ParamSpec(f"{self.name}.weight", (self.outputs, self.inputs), init=self.init, fan=fan),
            ParamSpec(f"{self.name}.bias", (self.outputs,), decay=False, init=bias, fan=fan),
        )

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        return ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        weights = run.params[f"{self.name}.weight"][:, :, None, None]
        pixel = x[:, None, None, :]
        y = conv.forward(pixel, weights, 1, 0, 0)[:, 0, 0] + run.params[f"{self.name}.bias"]

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            out = dy[:, None, None, :]
            gradients[f"{self.name}.weight"][...] = conv.weight_gradient(pixel, out, (1, 1), 1, 0, 0)[:, :, 0, 0]
            gradients[f"{self.name}.bias"][...] = reduce(np.add, dy)  # image after image
            return conv.input_gradient(out, weights, (1, 1), 1, 0, 0)[:, 0, 0]

        return y, backward
