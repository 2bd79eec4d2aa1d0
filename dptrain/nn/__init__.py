"""The readable network library: a layer is a function that returns (y, backward). No trainer in here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dptrain.config import ModelConfig
from dptrain.nn.criterion import make_criterion
from dptrain.nn.initialise import initial_buffers, initial_params
from dptrain.nn.network import ImageShape, Network
from dptrain.nn.network_model import NetworkModel
from dptrain.nn.networks import build_network
from dptrain.nn.resnet import ResNet, resnet

__all__ = [
    "ImageShape",
    "Network",
    "NetworkModel",
    "ResNet",
    "build",
    "build_network",
    "initial_buffers",
    "initial_params",
    "resnet",
]


def build(  # noqa: PLR0913  # everything the identity of a run says about its network, and the files it may come from
    config: ModelConfig,
    image: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int = 0,
    files: tuple[str, ...] = (),
) -> NetworkModel:
    """The network of `config` for images (h, w, c) with this pixel mean and std (a channel, in units of 0..255).

    `seed` is for what is drawn by chance in training; `files` are the Python files whose networks may be run.
    """
    network = build_network(config, ImageShape(*image), classes, files)
    criterion = make_criterion(config.criterion, config.class_weights, classes)
    return NetworkModel(
        network, (np.asarray(mean, np.float32), np.asarray(std, np.float32)), criterion, config.l2, seed
    )
