"""A small VGG (Simonyan & Zisserman 2014) with BatchNorm: stages of 3 x 3 convolutions, the maximum between them."""

from __future__ import annotations

from dptrain.config import ModelConfig
from dptrain.errors import UsageError
from dptrain.nn.batchnorm import BatchNorm
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import Layer
from dptrain.nn.network import ImageShape, Network
from dptrain.nn.pooling import GlobalAverage, MaxPooling
from dptrain.nn.relu import ReLU
from dptrain.nn.resnet import head


def vgg(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """Three stages of n times conv, BatchNorm, ReLU at F, 2F, 4F channels; global average; hidden layers; scores.

    Of the configuration it takes n, filters, hidden, dropout and the initialisers. Raises UsageError for tiny images.
    """
    if min(image.height, image.width) < 4:
        raise UsageError(f"images of {image.height}x{image.width} do not fit vgg: both sides must be at least 4")
    layers: list[Layer] = []
    inputs = image.channels
    for stage in range(3):
        outputs = config.filters << stage
        layers += [MaxPooling()] if stage else []
        for block in range(config.n):
            name = f"stage{stage + 1}.{block}"
            first = not layers
            convolution = Convolution(f"{name}.conv", inputs, outputs, first=first, init=config.conv_init)
            layers += [convolution, BatchNorm(f"{name}.bn", outputs, init=config.gamma), ReLU()]
            inputs = outputs
    layers += [GlobalAverage(), *head(config, inputs, classes)]
    return Network(image, classes, Sequential(tuple(layers)))
