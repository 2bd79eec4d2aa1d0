"""The residual network for small images and its variants: He et al. 2015, section 4.2, with 6n + 2 weighted layers.

First the shortcuts, then the variants of the block, then the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels import pool
from dptrain.model import ParamSpec
from dptrain.nn.activations import ReLU
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.convolution import Convolution, Linear
from dptrain.nn.layer import Backward, Layer, Run
from dptrain.nn.network import ImageShape, Network
from dptrain.nn.norm import BatchNorm, Dropout
from dptrain.nn.pooling import GlobalAverage
from dptrain.settings import ModelConfig
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
    """A shortcut with half the rows and columns and twice the channels: the new channels are zeros on both sides.

    `at_end`: they are all at the end.
    """

    at_end: bool = False
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Subsample(_Halving):
    """(n, h, w, c) -> (n, ceil(h/2), ceil(w/2), 2c): every second pixel, with c/2 zero channels on both sides.

    `at_end`: with c zero channels at the end.
    """

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            dx = np.zeros(x.shape, dy.dtype)
            dx[:, ::2, ::2] = _narrow(dy, at_end=self.at_end)
            return dx

        return _widen(x[:, ::2, ::2], at_end=self.at_end), backward


@dataclass(frozen=True, slots=True)
class AveragePool(_Halving):
    """(n, h, w, c) -> (n, h/2, w/2, 2c): means of 2 x 2 pixels, with c/2 zero channels on both sides. h, w even.

    `at_end`: with c zero channels at the end.
    """

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            return pool.average2_gradient(_narrow(dy, at_end=self.at_end))

        return _widen(pool.average2(x), at_end=self.at_end), backward


def projection(name: str, inputs: int, outputs: int, stride: int, inits: tuple[str, str]) -> Sequential:
    """1 x 1 convolution and BatchNorm: options B and C. `inits`: of the convolution and of BatchNorm's scale."""
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
    """Without the channels that `_widen` added, C order."""
    c = dy.shape[3] // 2
    before = 0 if at_end else c // 2
    return np.ascontiguousarray(dy[..., before : before + c])


class Block(NamedTuple):
    """The parts of a block. `stride` is that of the first convolution."""

    name: str
    inputs: int
    outputs: int
    stride: int
    shortcut: Layer | None  #: None: a network without shortcuts
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
    """conv BN ReLU conv BN, add: gcr's best at 110 layers (gcr: torch-residual-networks, docs/predecessors.md)."""
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


_HALVING: dict[str, Callable[[], Layer]] = {
    "A": Subsample,
    "avgpool": AveragePool,
    "A-end": lambda: Subsample(at_end=True),
    "avgpool-end": lambda: AveragePool(at_end=True),
}
_SHORTCUTS = (*_HALVING, "B", "C")


@dataclass(frozen=True, slots=True)
class ResNet(Network):
    """A residual network and its configuration. Parameter names are those of the common PyTorch implementations."""

    config: ModelConfig = ModelConfig()  # noqa: RUF009  # frozen

    @property
    def depth(self) -> int:
        """Weighted layers: 6n + 2, and the hidden linear ones. Projections are not counted, as in the paper."""
        return 6 * self.config.n + 2 + len(self.config.hidden)


def resnet(config: ModelConfig, image: ImageShape, classes: int) -> ResNet:
    """Stem, three stages of `n` blocks at F, 2F, 4F channels, global average, hidden linear layers, scores.

    Raises UsageError if the network cannot take images of this shape.
    """
    _refuse_impossible(config, image, classes)
    width, last = config.filters, 4 * config.filters
    layers: list[Layer] = [Convolution("conv1", image.channels, width, first=True, init=config.conv_init)]
    early = config.block != "preactivation"  #: else BatchNorm and ReLU come before each convolution, not behind it
    if early:
        layers += [BatchNorm("bn1", width, init=config.gamma), ReLU()]
    inputs = width
    for stage in range(3):
        outputs = width << stage
        for number in range(config.n):
            halves = stage > 0 and number == 0
            layers += block(f"layer{stage + 1}.{number}", inputs, outputs, config, halves=halves)
            inputs = outputs
    if not early:
        layers += [BatchNorm("bn", last, init=config.gamma), ReLU()]
    layers += [GlobalAverage(), *head(config, last, classes)]
    return ResNet(image, classes, Sequential(tuple(layers)), config=config)


def head(config: ModelConfig, inputs: int, classes: int) -> list[Layer]:
    """Hidden linear layers, dropout, scores."""
    layers: list[Layer] = []
    for i, hidden in enumerate(config.hidden):
        norm = BatchNorm(f"hidden.{i}.bn", hidden, init=config.gamma)
        layers += [Linear(f"hidden.{i}", inputs, hidden, init=config.linear_init), norm, ReLU()]
        inputs = hidden
    if config.dropout:
        layers.append(Dropout("dropout", config.dropout))
    return [*layers, Linear("linear", inputs, classes, init=config.linear_init)]


def _refuse_impossible(config: ModelConfig, image: ImageShape, classes: int) -> None:
    if config.n < 1 or config.filters < 1 or classes < 2 or any(width < 1 for width in config.hidden):
        asked = f"n={config.n}, filters={config.filters}, classes={classes}, hidden={config.hidden}"
        raise UsageError(f"no such network: {asked}; n, filters and hidden are at least 1, classes at least 2")
    if config.shortcut not in _SHORTCUTS:
        raise UsageError(f"shortcut {config.shortcut!r} is unknown; allowed: {', '.join(_SHORTCUTS)}")
    if config.block not in BLOCKS:
        raise UsageError(f"block {config.block!r} is unknown; allowed: {', '.join(BLOCKS)}")
    if config.residual and config.filters % 2 and config.shortcut in ("A", "avgpool"):
        raise UsageError(
            f"filters {config.filters} is odd; option A pads half of it on either side: use an even number"
        )
    average = config.shortcut.startswith("avgpool")
    if min(image.height, image.width) < 4 or (average and (image.height % 4 or image.width % 4)):
        raise UsageError(
            f"images of {image.height}x{image.width} do not fit: both sides must be at least 4, "
            "and divisible by 4 with shortcut avgpool"
        )


def block(name: str, inputs: int, outputs: int, config: ModelConfig, *, halves: bool) -> list[Layer]:
    """One block, with its shortcut if the network has shortcuts."""
    stride = 2 if halves else 1
    shortcut: Layer | None = None
    if config.residual:
        shortcut = _shortcut(name, inputs, outputs, config, stride=stride)
    return BLOCKS[config.block](Block(name, inputs, outputs, stride, shortcut, config.conv_init, config.gamma))


def _shortcut(name: str, inputs: int, outputs: int, config: ModelConfig, *, stride: int) -> Layer:
    """Option B projects where the shape changes, option C everywhere."""
    if config.shortcut == "C" or (config.shortcut == "B" and stride == 2):
        return projection(name, inputs, outputs, stride, (config.conv_init, config.gamma))
    return _HALVING[config.shortcut]() if stride == 2 else Identity()
