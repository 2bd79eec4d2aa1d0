"""The residual network for small images: He et al. 2015, section 4.2, with 6n + 2 weighted layers, and its variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dptrain.errors import UsageError
from dptrain.nn.activations import ReLU
from dptrain.nn.block import BLOCKS, AveragePool, Block, Identity, Subsample, projection
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Convolution, Linear
from dptrain.nn.layer import Layer
from dptrain.nn.network import ImageShape, Network
from dptrain.nn.norm import BatchNorm, Dropout
from dptrain.nn.pooling import GlobalAverage
from dptrain.settings import ModelConfig

__all__ = ["ImageShape", "ResNet", "resnet"]

_HALVING: dict[str, Callable[[], Layer]] = {
    "A": Subsample,
    "avgpool": AveragePool,
    "A-end": lambda: Subsample(at_end=True),
    "avgpool-end": lambda: AveragePool(at_end=True),
}
_SHORTCUTS = (*_HALVING, "B", "C")


@dataclass(frozen=True, slots=True)
class ResNet(Network):
    """The network and what it was built for. Parameter names are those of the common PyTorch implementations."""

    config: ModelConfig = ModelConfig()  # noqa: RUF009  # frozen

    @property
    def depth(self) -> int:
        """Weighted layers: 6n + 2, and the hidden affine ones. A projection is not counted, as in the paper."""
        return 6 * self.config.n + 2 + len(self.config.hidden)


def resnet(config: ModelConfig, image: ImageShape, classes: int) -> ResNet:
    """Stem, three stages of `n` blocks at F, 2F, 4F channels, global average, hidden affine layers, scores.

    Raises UsageError for a shape the network cannot take.
    """
    _refuse_impossible(config, image, classes)
    width, last = config.filters, 4 * config.filters
    layers: list[Layer] = [Convolution("conv1", image.channels, width, first=True, init=config.conv_init)]
    early = config.block != "preactivation"  #: else BatchNorm and ReLU stand before each convolution, not behind
    if early:
        layers += [BatchNorm("bn1", width, init=config.gamma), ReLU()]
    inputs = width
    for stage in range(3):
        outputs = width << stage
        for block in range(config.n):
            halves = stage > 0 and block == 0
            layers += _block(f"layer{stage + 1}.{block}", inputs, outputs, config, halves=halves)
            inputs = outputs
    if not early:
        layers += [BatchNorm("bn", last, init=config.gamma), ReLU()]
    layers += [GlobalAverage(), *head(config, last, classes)]
    return ResNet(image, classes, Sequential(tuple(layers)), config=config)


def head(config: ModelConfig, inputs: int, classes: int) -> list[Layer]:
    """Hidden affine layers, dropout, scores."""
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


def _block(name: str, inputs: int, outputs: int, config: ModelConfig, *, halves: bool) -> list[Layer]:
    """One block, with its shortcut unless the network is plain."""
    stride = 2 if halves else 1
    shortcut: Layer | None = None
    if config.residual:
        shortcut = _shortcut(name, inputs, outputs, config, stride=stride)
    return BLOCKS[config.block](Block(name, inputs, outputs, stride, shortcut, config.conv_init, config.gamma))


def _shortcut(name: str, inputs: int, outputs: int, config: ModelConfig, *, stride: int) -> Layer:
    """B projects where the shape changes, C everywhere."""
    if config.shortcut == "C" or (config.shortcut == "B" and stride == 2):
        return projection(name, inputs, outputs, stride, (config.conv_init, config.gamma))
    return _HALVING[config.shortcut]() if stride == 2 else Identity()
