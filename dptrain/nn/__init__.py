"""The readable network library: a layer is a function that returns (y, backward). No trainer in here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dptrain.config import ModelConfig
from dptrain.nn.initialise import initial_buffers, initial_params
from dptrain.nn.network_model import NetworkModel
from dptrain.nn.resnet import ImageShape, ResNet, resnet

__all__ = ["ImageShape", "NetworkModel", "ResNet", "build", "initial_buffers", "initial_params", "resnet"]


def build(
    config: ModelConfig, image: tuple[int, int, int], classes: int, mean: Sequence[float], std: Sequence[float]
) -> NetworkModel:
    """The network of `config` for images (h, w, c) with this pixel mean and std (a channel, in units of 0..255)."""
    network = resnet(config, ImageShape(*image), classes)
    return NetworkModel(network, np.asarray(mean, np.float32), np.asarray(std, np.float32))
