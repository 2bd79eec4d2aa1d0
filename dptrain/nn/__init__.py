"""The readable network library: a layer is a function that returns (y, backward). No trainer in here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dptrain.nn.criterion import make_criterion
from dptrain.nn.initialise import initial_buffers, initial_params
from dptrain.nn.network import ImageShape, Network, NetworkModel
from dptrain.nn.networks import build_network
from dptrain.nn.resnet import ResNet, resnet
from dptrain.settings import ModelConfig
from dptrain.types import F32

__all__ = [
    "ImageShape",
    "Network",
    "NetworkModel",
    "ResNet",
    "build",
    "build_network",
    "initial_buffers",
    "initial_params",
    "pixel_means",
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
    """The network of `config` for images (h, w, c) with these means and deviations of pixels, in units of 0..255.

    mean: one a channel, or of every pixel (h, w, c) in C order; std: one a channel.

    `seed` is for what is drawn by chance in training; `files` are the Python files whose networks may be run.
    """
    network = build_network(config, ImageShape(*image), classes, files)
    criterion = make_criterion(config.criterion, config.class_weights, classes)
    return NetworkModel(network, (pixel_means(mean, image), np.asarray(std, np.float32)), criterion, config.l2, seed)


def pixel_means(mean: Sequence[float], image: tuple[int, int, int]) -> F32:
    """(c,), or (h, w, c) where there is one for every pixel."""
    means = np.asarray(mean, np.float32)
    return means if means.size == image[2] else means.reshape(image)
