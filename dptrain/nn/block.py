"""The residual block in its variants: where its ReLUs and its second BatchNorm stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dptrain.nn.batchnorm import BatchNorm
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import Layer
from dptrain.nn.relu import ReLU


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
