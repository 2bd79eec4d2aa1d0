"""What `bench` measures in one thread: a step of the plain loop (dptrain/loop.py), inference, lines of the engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dptrain.api.session import terminal_line, word_about_compiling
from dptrain.course import Course
from dptrain.data.sampler import Sampler
from dptrain.engine import build
from dptrain.engine.lowering import obstacle
from dptrain.engine.model import EngineModel
from dptrain.engine.profile import Line, profile
from dptrain.errors import UsageError
from dptrain.loop import gradient_sum, update
from dptrain.model import Model
from dptrain.nn import initial_buffers, initial_params
from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import Config
from dptrain.state import TrainingState
from dptrain.types import I64, U8

_LR = 0.01


def make_runner(config: Config, shape: dict[str, int]) -> Callable[[int], list[float]]:
    """A function that runs N steps over a fixed random batch and gives the seconds of each: training steps of
    `dptrain.loop`, or inference.
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

    source = _OneBatch(Sampler(batch, batch, size, 0), x, y)
    course = Course(source.sampler, steps=1, sizes={}, bn_momentum=config.training.bn_momentum)

    def infer() -> None:
        model.logits(state.params, state.buffers, x)

    def train() -> None:
        total = gradient_sum(model, source, state.params, state.step)
        update(state, optimizer, total, _LR, course)

    step = infer if shape["inference"] else train

    def run(steps: int) -> list[float]:
        seconds = []
        for _ in range(steps):
            begin = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
        return seconds

    return run


@dataclass(frozen=True, slots=True)
class _OneBatch:
    """The same batch at every step."""

    sampler: Sampler
    x: U8
    y: I64

    def images(self, step: int, shard: int) -> tuple[U8, I64]:
        """One shard of it."""
        part = slice(shard * self.sampler.shard_size, (shard + 1) * self.sampler.shard_size)
        return self.x[part], self.y[part]


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
