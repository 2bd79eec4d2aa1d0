"""The residual block in its variants: where its ReLUs and its second BatchNorm stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dptrain.kernels import pool
from dptrain.model import ParamSpec
from dptrain.nn.activations import ReLU
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import Backward, Layer, Run
from dptrain.nn.norm import BatchNorm
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Identity:
    """x."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        return x, lambda dy, gradients: dy


@dataclass(frozen=True, slots=True)
class _Halving:
    """Half the rows and columns, twice the channels: half of the new ones before and half after, or all at the end."""

    at_end: bool = False
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Subsample(_Halving):
    """(n, h, w, c) -> (n, ceil(h/2), ceil(w/2), 2c): every second pixel; c/2 zero channels before and after.

    `at_end`: c zero channels after instead.
    """

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            dx = np.zeros(x.shape, dy.dtype)
            dx[:, ::2, ::2] = _narrow(dy, at_end=self.at_end)
            return dx

        return _widen(x[:, ::2, ::2], at_end=self.at_end), backward


@dataclass(frozen=True, slots=True)
class AveragePool(_Halving):
    """(n, h, w, c) -> (n, h/2, w/2, 2c): means of 2 x 2 pixels; c/2 zero channels before and after. h, w even.

    `at_end`: c zero channels after instead.
    """

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            return pool.average2_gradient(_narrow(dy, at_end=self.at_end))

        return _widen(pool.average2(x), at_end=self.at_end), backward


def projection(name: str, inputs: int, outputs: int, stride: int, inits: tuple[str, str]) -> Sequential:
    """1 x 1 convolution and BatchNorm: options B and C. `inits`: of the convolution, of BatchNorm's scale."""
    convolution = Convolution(f"{name}.shortcut.0", inputs, outputs, 1, stride, pad=0, init=inits[0])
    return Sequential((convolution, BatchNorm(f"{name}.shortcut.1", outputs, init=inits[1])))


def _widen(x: Floats, *, at_end: bool) -> Floats:
    """Doubles the channels with zeros."""
    n, h, w, c = x.shape
    before = 0 if at_end else c // 2
    out = np.zeros((n, h, w, 2 * c), x.dtype)
    out[..., before : before + c] = x
    return out


def _narrow(dy: Floats, *, at_end: bool) -> Floats:
    """The channels `_widen` kept, C order."""
    c = dy.shape[3] // 2
    before = 0 if at_end else c // 2
    return np.ascontiguousarray(dy[..., before : before + c])


class Block(NamedTuple):
    """What a block is made of. `stride` is the first convolution's."""

    name: str
    inputs: int
    outputs: int
    stride: int
    shortcut: Layer | None  #: None: a plain network
    conv_init: str
    gamma: str

    def conv(self, number: int) -> Convolution:
        """The first or second convolution."""
        inputs, stride = (self.inputs, self.stride) if number == 1 else (self.outputs, 1)
        return Convolution(f"{self.name}.conv{number}", inputs, self.outputs, stride=stride, init=self.conv_init)

    def norm(self, number: int, channels: int = 0) -> BatchNorm:
        """The first or second BatchNorm."""
        return BatchNorm(f"{self.name}.bn{number}", channels or self.outputs, init=self.gamma)

    def add(self, *branch: Layer) -> Layer:
        """The branch, plus the shortcut."""
        made = Sequential(branch)
        return made if self.shortcut is None else Residual(made, self.shortcut)


def paper(b: Block) -> list[Layer]:
    """conv BN ReLU conv BN, add, ReLU: He et al. 2015."""
    return [b.add(b.conv(1), b.norm(1), ReLU(), b.conv(2), b.norm(2)), ReLU()]


def no_relu(b: Block) -> list[Layer]:
    """conv BN ReLU conv BN, add: gcr's best at 110 layers."""
    return [b.add(b.conv(1), b.norm(1), ReLU(), b.conv(2), b.norm(2))]


def bn_after(b: Block) -> list[Layer]:
    """conv BN ReLU conv, add, BN, ReLU."""
    return [b.add(b.conv(1), b.norm(1), ReLU(), b.conv(2)), b.norm(2), ReLU()]


def bn_after_no_relu(b: Block) -> list[Layer]:
    """conv BN ReLU conv, add, BN."""
    return [b.add(b.conv(1), b.norm(1), ReLU(), b.conv(2)), b.norm(2)]


def relu_before(b: Block) -> list[Layer]:
    """conv BN ReLU conv BN ReLU, add: PyFunt's."""
    return [b.add(b.conv(1), b.norm(1), ReLU(), b.conv(2), b.norm(2), ReLU())]


def preactivation(b: Block) -> list[Layer]:
    """BN ReLU conv BN ReLU conv, add: He et al. 2016; the network ends with BN ReLU."""
    return [b.add(b.norm(1, b.inputs), ReLU(), b.conv(1), b.norm(2), ReLU(), b.conv(2))]


BLOCKS: dict[str, Callable[[Block], list[Layer]]] = {
    "paper": paper,
    "no-relu": no_relu,
    "bn-after": bn_after,
    "bn-after-no-relu": bn_after_no_relu,
    "relu-before": relu_before,
    "preactivation": preactivation,
}
