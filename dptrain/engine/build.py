"""Which networks the engine can lower, and the one door to a model of either kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dptrain import nn
from dptrain.config import ModelConfig
from dptrain.engine.geometry import Map
from dptrain.engine.model import EngineModel
from dptrain.engine.plan import KINDS, plan
from dptrain.model import Model, ParamLayout
from dptrain.nn.containers import Sequential
from dptrain.nn.pooling import GlobalAverage


def obstacle(config: ModelConfig, image: tuple[int, int, int]) -> str:
    """Why the engine cannot lower this network; "" where it can. Depends on nothing but the arguments."""
    if config.network != "resnet":
        return f"network {config.network!r} is not the residual network of the paper"
    if config.block != "paper":
        return f"block {config.block!r}: only 'paper' is lowered"
    if config.residual and config.shortcut not in KINDS:
        return f"shortcut {config.shortcut!r}: only {', '.join(KINDS)} are lowered"
    if config.filters % 8:
        return f"filters {config.filters}: only multiples of 8 are lowered"
    if config.criterion != "cross-entropy" or config.class_weights or config.l2:
        return "only the plain cross-entropy is lowered"
    if min(image[:2]) < 8:
        return f"images of {image[0]}x{image[1]}: only sides of 8 and more are lowered"
    return ""


def build(
    config: ModelConfig, image: tuple[int, int, int], classes: int, mean: Sequence[float], std: Sequence[float]
) -> Model:
    """The network of `config` for images (h, w, c) with this pixel mean and std (a channel, in units of 0..255).

    Lowered where the engine can, layer by layer elsewhere; for one configuration always the same, so the bits are too.
    """
    network = nn.build(config, image, classes, mean, std)
    if obstacle(config, image):
        return network
    layers = network.resnet.network.layers
    behind = next(i for i, layer in enumerate(layers) if isinstance(layer, GlobalAverage)) + 1
    layouts: tuple[ParamLayout, ParamLayout] = (network.params, network.buffers)
    lowered = plan(config, Map(*image), *layouts)
    pixels = (np.asarray(mean, np.float32), np.asarray(std, np.float32))
    return EngineModel(lowered, Sequential(layers[behind:]), layouts, pixels)
