"""Which networks the engine runs, and `build`: a model of either kind, the engine's or layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dptrain import nn
from dptrain.engine.model import EngineModel
from dptrain.engine.plan import KINDS, Shape, plan
from dptrain.model import Model, ParamLayout
from dptrain.nn.containers import Sequential
from dptrain.nn.pooling import GlobalAverage
from dptrain.settings import ModelConfig


def obstacle(config: ModelConfig, image: tuple[int, int, int]) -> str:
    """Why the engine cannot run this network; "" if it can. Depends on nothing but the arguments."""
    if config.network != "resnet":
        return f"network {config.network!r} is not the residual network of the paper"
    if config.block != "paper":
        return f"block {config.block!r}: the engine runs 'paper' only"
    if config.residual and config.shortcut not in KINDS:
        return f"shortcut {config.shortcut!r}: the engine runs {', '.join(KINDS)} only"
    if config.filters % 8:
        return f"filters {config.filters}: the engine runs multiples of 8 only"
    if config.criterion != "cross-entropy" or config.class_weights or config.l2:
        return "the engine runs plain cross-entropy only"
    if min(image[:2]) < 8:
        return f"images of {image[0]}x{image[1]}: the engine runs sides of at least 8 pixels only"
    return ""


def build(  # noqa: PLR0913  # as nn.build
    config: ModelConfig,
    image: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int = 0,
    files: tuple[str, ...] = (),
) -> Model:
    """As `nn.build`, but runs on the engine if the engine can run this network, else layer by layer.

    The configuration alone decides, so the bits are the same on every machine.
    """
    model = nn.build(config, image, classes, mean, std, seed=seed, files=files)
    network = model.network.network
    if obstacle(config, image) or len(mean) != image[2] or not isinstance(network, Sequential):  # a mean image
        return model
    behind = next(i for i, layer in enumerate(network.layers) if isinstance(layer, GlobalAverage)) + 1
    layouts: tuple[ParamLayout, ParamLayout] = (model.params, model.buffers)
    lowered = plan(config, Shape(*image, config.tile), layouts)
    pixels = (np.asarray(mean, np.float32), np.asarray(std, np.float32))
    return EngineModel(lowered, Sequential(network.layers[behind:]), layouts, pixels, seed)
