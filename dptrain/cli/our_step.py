"""What `bench` measures of ours, in one thread without the wire: a training step, scores, lines of the engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dptrain.api.session import terminal_line, word_about_compiling
from dptrain.cluster.state import TrainingState
from dptrain.cluster.tree import Tree
from dptrain.cluster.update import apply
from dptrain.engine import build
from dptrain.engine.build import obstacle
from dptrain.engine.model import EngineModel
from dptrain.engine.profile import Line, profile
from dptrain.errors import UsageError
from dptrain.model import Model, ShardResult
from dptrain.nn import initial_buffers, initial_params
from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import Config

_LR = 0.01


def make_runner(config: Config, shape: dict[str, int]) -> Callable[[int], list[float]]:
    """A function that runs N steps over a fixed random batch and gives the seconds of each: training steps as a worker
    and the coordinator do them together, or scores.
    """
    model = _model(config, shape)
    optimizer = make_optimizer(config.training, model.params)
    state = TrainingState(
        model.params,
        model.buffers,
        initial_params(model.params, config.training.seed),
        initial_buffers(model.buffers),
        optimizer.init(model.params.size),
    )
    chance = np.random.default_rng(0)
    size, batch = config.training.shard_size, config.training.batch_size
    x = chance.integers(0, 256, (batch, shape["image"], shape["image"], shape["channels"]), np.uint8)
    y = chance.integers(0, shape["classes"], batch, np.int64)

    def infer() -> None:
        model.logits(state.params, state.buffers, x)

    def train() -> None:
        tree: Tree[ShardResult] = Tree(batch // size)
        for shard in range(tree.shards):
            part = slice(shard * size, (shard + 1) * size)
            tree.add(shard, shard + 1, model.gradient(state.params, x[part], y[part]))
        apply(state, optimizer, tree.root, _LR, config.training.bn_momentum, batch)

    step = infer if shape["inference"] else train

    def run(steps: int) -> list[float]:
        seconds = []
        for _ in range(steps):
            begin = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
        return seconds

    return run


def layers(config: Config, shape: dict[str, int], takes: int) -> list[Line]:
    """Every line of the engine's plan, timed over a shard. Raises UsageError where the network is not lowered."""
    model = _model(config, shape)
    if not isinstance(model, EngineModel):
        reason = obstacle(config.model, (shape["image"], shape["image"], shape["channels"]))
        raise UsageError(f"--layers: this network runs layer by layer, without a plan: {reason}")
    chance = np.random.default_rng(0)
    side = shape["image"]
    x = chance.integers(0, 256, (config.training.shard_size, side, side, shape["channels"]), np.uint8)
    params = initial_params(model.params, config.training.seed)
    with word_about_compiling(terminal_line()):
        profile(model, params, x, 1)
    return profile(model, params, x, takes)


def describe(config: Config, shape: dict[str, int]) -> dict[str, Any]:
    """The network and the batch, for people and as figures."""
    size, side, batch = config.training.shard_size, shape["image"], shape["batch"]
    text = (
        f"ResNet-{6 * shape['n'] + 2}, {shape['filters']} filters, shortcut {config.model.shortcut}, "
        f"{_model(config, shape).params.size:,} parameters, "
        f"{side}x{side}x{shape['channels']}, batch {batch} = {batch // size} x {size}"
    )
    return shape | {"shard": size, "text": text}


def _model(config: Config, shape: dict[str, int]) -> Model:
    image = (shape["image"], shape["image"], shape["channels"])
    grey = [127.5] * shape["channels"]
    return build(config.model, image, shape["classes"], grey, [64.0] * shape["channels"])
