"""Well-known networks for small images: ResNet-18 and -34, wide residual networks, ResNet-9, VGG-11 and -16.

`filters` is the number of channels of the first stage: 64 in the published ResNet-18, -34, ResNet-9 and VGG, 16 k in
the wide network of factor k. All of them use filters, hidden, dropout and the initialisers of the configuration.
"""

from __future__ import annotations

from dataclasses import replace

from dptrain.errors import UsageError
from dptrain.nn.activations import MulConstant, ReLU
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import Layer
from dptrain.nn.network import ImageShape, Network
from dptrain.nn.norm import BatchNorm
from dptrain.nn.pooling import GlobalAverage, MaxPooling
from dptrain.nn.resnet import Identity, block, head
from dptrain.settings import ModelConfig

_STEM = 16  #: channels in front of the first stage of a wide network


def resnet18(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """He et al. 2015, table 1, with a 3 x 3 stem and no pooling: two blocks in each of four stages."""
    return _stages(config, image, classes, (2, 2, 2, 2))


def resnet34(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """He et al. 2015, table 1, with a 3 x 3 stem and no pooling: 3, 4, 6 and 3 blocks."""
    return _stages(config, image, classes, (3, 4, 6, 3))


def _stages(config: ModelConfig, image: ImageShape, classes: int, counts: tuple[int, ...]) -> Network:
    _refuse_small(image, len(counts))
    config = replace(config, shortcut="B", block="paper", residual=True)
    layers = _conv_norm(config, "conv1", "bn1", image.channels, config.filters, first=True)
    inputs = config.filters
    for stage, count in enumerate(counts):
        for number in range(count):
            halves = stage > 0 and number == 0
            layers += block(f"layer{stage + 1}.{number}", inputs, config.filters << stage, config, halves=halves)
            inputs = config.filters << stage
    return Network(image, classes, Sequential((*layers, GlobalAverage(), *head(config, inputs, classes))))


def wide(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """Zagoruyko & Komodakis 2016: 6 n + 4 layers, pre-activated blocks of F, 2 F, 4 F channels behind a stem of 16.

    Where the shape changes, the shortcut is a 1 x 1 convolution behind BatchNorm and ReLU.
    """
    _refuse_small(image, 3)
    init, inputs = config.conv_init, _STEM
    layers: list[Layer] = [Convolution("conv1", image.channels, inputs, first=True, init=init)]
    for stage in range(3):
        outputs = config.filters << stage
        for number in range(config.n):
            name, stride = f"layer{stage + 1}.{number}", 2 if stage and number == 0 else 1
            before = BatchNorm(f"{name}.bn1", inputs, init=config.gamma), ReLU()
            rest = (
                Convolution(f"{name}.conv1", inputs, outputs, stride=stride, init=init),
                BatchNorm(f"{name}.bn2", outputs, init=config.gamma),
                ReLU(),
                Convolution(f"{name}.conv2", outputs, outputs, init=init),
            )
            if inputs == outputs and stride == 1:
                layers.append(Residual(Sequential((*before, *rest)), Identity()))
            else:
                projection = Convolution(f"{name}.shortcut", inputs, outputs, 1, stride, pad=0, init=init)
                layers += [*before, Residual(Sequential(rest), projection)]
            inputs = outputs
    layers += [BatchNorm("bn", inputs, init=config.gamma), ReLU(), GlobalAverage(), *head(config, inputs, classes)]
    return Network(image, classes, Sequential(tuple(layers)))


def resnet9(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """Page 2018, "How to train your ResNet": F to 8 F channels with pooling, two residual pairs, scores times 1/8."""
    _refuse_small(image, 4)
    width = config.filters
    layers = _conv_norm(config, "prep.conv", "prep.bn", image.channels, width, first=True)
    for stage in (1, 2, 3):
        name, outputs = f"layer{stage}", width << stage
        layers += [*_conv_norm(config, f"{name}.conv", f"{name}.bn", outputs // 2, outputs), MaxPooling()]
        if stage != 2:
            first = _conv_norm(config, f"{name}.res1.conv", f"{name}.res1.bn", outputs, outputs)
            second = _conv_norm(config, f"{name}.res2.conv", f"{name}.res2.bn", outputs, outputs)
            layers.append(Residual(Sequential((*first, *second)), Identity()))
    left = (image.height // 8, image.width // 8)
    scores: list[Layer] = [MaxPooling(left), GlobalAverage(), *head(config, 8 * width, classes), MulConstant(0.125)]
    return Network(image, classes, Sequential((*layers, *scores)))


def vgg11(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """Simonyan & Zisserman 2014, configuration A with BatchNorm: 1, 1, 2, 2, 2 convolutions."""
    return _vgg(config, image, classes, (1, 1, 2, 2, 2))


def vgg16(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """Simonyan & Zisserman 2014, configuration D with BatchNorm: 2, 2, 3, 3, 3 convolutions."""
    return _vgg(config, image, classes, (2, 2, 3, 3, 3))


def _vgg(config: ModelConfig, image: ImageShape, classes: int, counts: tuple[int, ...]) -> Network:
    layers: list[Layer] = []
    inputs, side = image.channels, min(image.height, image.width)
    for stage, count in enumerate(counts):
        outputs = config.filters << min(stage, 3)
        for number in range(count):
            name = f"stage{stage + 1}.{number}"
            layers += _conv_norm(config, f"{name}.conv", f"{name}.bn", inputs, outputs, first=not layers)
            inputs = outputs
        layers += [MaxPooling()] if stage < len(counts) - 1 and side > 1 else []  # small images are pooled less often
        side //= 2
    return Network(image, classes, Sequential((*layers, GlobalAverage(), *head(config, inputs, classes))))


def _conv_norm(  # two layers
    config: ModelConfig, conv: str, norm: str, inputs: int, outputs: int, *, first: bool = False
) -> list[Layer]:
    """Convolution, BatchNorm, ReLU."""
    convolution = Convolution(conv, inputs, outputs, first=first, init=config.conv_init)
    return [convolution, BatchNorm(norm, outputs, init=config.gamma), ReLU()]


def _refuse_small(image: ImageShape, stages: int) -> None:
    least = 1 << (stages - 1)
    if min(image.height, image.width) < least:
        raise UsageError(f"images of {image.height}x{image.width} do not fit: both sides must be at least {least}")
