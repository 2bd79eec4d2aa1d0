"""`build`: a network as a model on the engine. The configuration alone decides how it is computed."""

from __future__ import annotations

from collections.abc import Sequence

from dptrain import nn
from dptrain.engine.lines import Lines
from dptrain.engine.model import EngineModel
from dptrain.engine.plan import match
from dptrain.engine.tree import lower
from dptrain.nn.criterion import PLAIN
from dptrain.nn.network import NetworkModel
from dptrain.settings import ModelConfig


def build(  # noqa: PLR0913  # as nn.build
    config: ModelConfig,
    image: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int = 0,
    files: tuple[str, ...] = (),
) -> EngineModel:
    """As `nn.build`, but on the engine.

    A chain of the paper's blocks has passes with an order of additions of their own, which the runs with such a network
    have always had. Every other network has the bits of its layers, whatever passes they are fused into.
    """
    model = nn.build(config, image, classes, mean, std, seed=seed, files=files)
    return EngineModel(plan_of(model), model)


def plan_of(model: NetworkModel) -> Lines:
    """The plan of a network."""
    other = model.criterion != PLAIN or model.l2 or model.standard[0].ndim > 1  # these have the bits of layers
    return lower(model.network, model.tile, None if other else match(model.network, model.tile))
