"""The residual network for small images: He et al. 2015, section 4.2, with 6n + 2 weighted layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dptrain.config import ModelConfig
from dptrain.errors import UsageError
from dptrain.nn.batchnorm import BatchNorm
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import Layer
from dptrain.nn.linear import Linear
from dptrain.nn.pooling import GlobalAverage
from dptrain.nn.relu import ReLU
from dptrain.nn.shortcut import AveragePool, Identity, Subsample

_HALVING: dict[str, Callable[[], Layer]] = {"A": Subsample, "avgpool": AveragePool}


@dataclass(frozen=True, slots=True)
class ImageShape:
    """What comes in: height, width, channels."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True, slots=True)
class ResNet:
    """The network and what it was built for. Parameter names are those of the common PyTorch implementations."""

    config: ModelConfig
    image: ImageShape
    classes: int
    network: Sequential = field(repr=False)

    @property
    def depth(self) -> int:
        """Weighted layers: 6n + 2, and the hidden affine ones."""
        return 6 * self.config.n + 2 + len(self.config.hidden)


def resnet(config: ModelConfig, image: ImageShape, classes: int) -> ResNet:
    """Stem, three stages of `n` blocks at F, 2F, 4F channels, global average, hidden affine layers, scores.

    Raises UsageError for a shape the network cannot take.
    """
    if config.n < 1 or config.filters < 1 or classes < 2 or any(width < 1 for width in config.hidden):
        asked = f"n={config.n}, filters={config.filters}, classes={classes}, hidden={config.hidden}"
        raise UsageError(f"no such network: {asked}; n, filters and hidden are at least 1, classes at least 2")
    if config.shortcut not in _HALVING:
        raise UsageError(f"shortcut {config.shortcut!r} is unknown; allowed: {', '.join(_HALVING)}")
    if config.residual and config.filters % 2:
        raise UsageError(
            f"filters {config.filters} is odd; option A pads half of the channels on either side: use an even number"
        )
    if min(image.height, image.width) < 4 or (config.shortcut == "avgpool" and (image.height % 4 or image.width % 4)):
        raise UsageError(
            f"images of {image.height}x{image.width} do not fit: both sides must be at least 4, "
            "and divisible by 4 with shortcut avgpool"
        )
    width = config.filters
    layers: list[Layer] = [
        Convolution("conv1", image.channels, width, first=True), BatchNorm("bn1", width), ReLU()
    ]  # fmt: skip
    inputs = width
    for stage in range(3):
        outputs = width << stage
        for block in range(config.n):
            halves = stage > 0 and block == 0
            layers += _block(f"layer{stage + 1}.{block}", inputs, outputs, config, halves=halves)
            inputs = outputs
    layers.append(GlobalAverage())
    for i, hidden in enumerate(config.hidden):
        layers += [Linear(f"hidden.{i}", inputs, hidden), BatchNorm(f"hidden.{i}.bn", hidden), ReLU()]
        inputs = hidden
    layers.append(Linear("linear", inputs, classes))
    return ResNet(config, image, classes, Sequential(tuple(layers)))


def _block(name: str, inputs: int, outputs: int, config: ModelConfig, *, halves: bool) -> list[Layer]:
    """conv-BN-ReLU-conv-BN, plus the shortcut unless the network is plain, then ReLU."""
    branch = Sequential((
        Convolution(f"{name}.conv1", inputs, outputs, stride=2 if halves else 1),
        BatchNorm(f"{name}.bn1", outputs),
        ReLU(),
        Convolution(f"{name}.conv2", outputs, outputs),
        BatchNorm(f"{name}.bn2", outputs),
    ))  # fmt: skip
    if not config.residual:
        return [branch, ReLU()]
    return [Residual(branch, _HALVING[config.shortcut]() if halves else Identity()), ReLU()]
