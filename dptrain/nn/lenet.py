"""LeNet (LeCun et al. 1998) in today's dress: a network that is not residual, with pooling and dropout."""

from __future__ import annotations

from dptrain.config import ModelConfig
from dptrain.errors import UsageError
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import Layer
from dptrain.nn.network import ImageShape, Network
from dptrain.nn.pooling import MaxPooling
from dptrain.nn.relu import ReLU
from dptrain.nn.reshape import Reshape
from dptrain.nn.resnet import head


def lenet(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """Two times 5 x 5 convolution, ReLU, maximum of 2 x 2 (F, then 2F channels); hidden affine layers; scores.

    Of the configuration it takes filters, hidden, dropout and the initialisers. Raises UsageError for tiny images.
    """
    if min(image.height, image.width) < 4:
        raise UsageError(f"images of {image.height}x{image.width} do not fit lenet: both sides must be at least 4")
    width, init = config.filters, config.conv_init
    layers: tuple[Layer, ...] = (
        Convolution("conv1", image.channels, width, taps=5, pad=2, first=True, bias=True, init=init),
        ReLU(),
        MaxPooling(),
        Convolution("conv2", width, 2 * width, taps=5, pad=2, bias=True, init=init),
        ReLU(),
        MaxPooling(),
        Reshape(),
    )
    inputs = (image.height // 4) * (image.width // 4) * 2 * width
    return Network(image, classes, Sequential((*layers, *head(config, inputs, classes))))
