"""What `dptrain bench` measures: steps or inference in one thread, passes of the engine, whole trainings."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dptrain.api.compiling import terminal_line, word_about_compiling
from dptrain.course import Course
from dptrain.data.shards import Sampler
from dptrain.engine import build
from dptrain.engine.model import EngineModel
from dptrain.engine.profile import Line, profile
from dptrain.errors import UsageError
from dptrain.loop import gradient_sum, update
from dptrain.nn import initial_buffers, initial_params
from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import Config
from dptrain.state import TrainingState
from dptrain.types import I64, U8

_LR = 0.01


class Speed(NamedTuple):
    """Images/s over the steps of one program."""

    median: float
    low: float  #: lower quartile
    high: float  #: upper quartile
    steps: int

    @classmethod
    def of(cls, seconds: Sequence[float], batch: int) -> Speed:
        """From the seconds of each step and its number of images."""
        low, median, high = statistics.quantiles([batch / s for s in seconds], n=4)
        return cls(round(median, 1), round(low, 1), round(high, 1), len(seconds))


def make_runner(config: Config, shape: dict[str, int]) -> Callable[[int], list[float]]:
    """A function that runs N steps over a fixed random batch and returns the seconds of each.

    A step is a training step of `dptrain.loop`, or inference.
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
    """Every pass of the engine's plan, timed over a shard."""
    model = _model(config, shape)
    chance = np.random.default_rng(0)
    side = shape["image"]
    x = chance.integers(0, 256, (config.training.shard_size, side, side, shape["channels"]), np.uint8)
    params = initial_params(model.params, config.training.seed)
    with word_about_compiling(terminal_line()):
        profile(model, params, x, 1)
    return profile(model, params, x, takes)


def describe(config: Config, shape: dict[str, int]) -> dict[str, Any]:
    """The network and the batch, as text and as numbers."""
    size, side, batch = config.training.shard_size, shape["image"], shape["batch"]
    text = (
        f"ResNet-{6 * shape['n'] + 2}, {shape['filters']} filters, shortcut {config.model.shortcut}, "
        f"{_model(config, shape).params.size:,} parameters, "
        f"{side}x{side}x{shape['channels']}, batch {batch} = {batch // size} x {size}"
    )
    return shape | {"shard": size, "text": text}


def _model(config: Config, shape: dict[str, int]) -> EngineModel:
    image = (shape["image"], shape["image"], shape["channels"])
    grey = [127.5] * shape["channels"]
    return build(config.model, image, shape["classes"], grey, [64.0] * shape["channels"])


# --- whole trainings

TURNS = 3  #: runs of each number of workers
SKIPPED = 5  #: steps at the beginning of a run that are not counted: caches fill, workers connect

Trainer: TypeAlias = Callable[[int, int], float]  #: (workers, counted steps) -> images/s of one training


class Job(NamedTuple):
    """The runs of one program with one number of workers."""

    side: str  #: "dptrain", or the other program
    workers: int
    images: float  #: images/s from the first counted step to the last, median of the runs
    low: float  #: slowest run
    high: float  #: fastest run
    coordinator_ms: float  #: the coordinator's share of a step, median of all counted steps; 0: it has no coordinator
    runs: list[float]  #: images/s of each run


def whole_job(
    counts: Sequence[int], flags: dict[str, str], steps: int, others: Mapping[str, Trainer] | None = None
) -> list[Job]:
    """Trains with `flags`, and with each of `others`, for so many counted steps, TURNS times per number of workers.

    The programs alternate. Raises UsageError if a run fails.
    """
    speeds: dict[tuple[str, int], list[float]] = {}
    shares: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(TURNS):
        for count in counts:
            speed, waits = _run(count, flags, steps)
            speeds.setdefault(("dptrain", count), []).append(speed)
            shares[count] += waits
            for name, train in (others or {}).items():
                speeds.setdefault((name, count), []).append(train(count, steps))
    jobs = []
    for (side, count), runs in speeds.items():
        median, low, high = (round(f(runs), 1) for f in (statistics.median, min, max))
        share = round(1000 * statistics.median(shares[count]), 3) if side == "dptrain" else 0.0
        jobs.append(Job(side, count, median, low, high, share, runs))
    return jobs


def _run(workers: int, flags: dict[str, str], steps: int) -> tuple[float, list[float]]:
    """Images/s, and the seconds of each step that workers waited for the coordinator."""
    given = flags | {"workers": str(workers), "max_steps": str(steps + SKIPPED), "name": "bench"}
    with tempfile.TemporaryDirectory(prefix="dptrain-bench-") as folder:
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        command = [sys.executable, "-P", "-m", "dptrain", "train", *words, "--runs", folder, "--log-format", "json"]
        with word_about_compiling(terminal_line()):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
            raise UsageError(f"bench --workers {workers}: the training ended with {done.returncode}: {reason}")
        records = map(json.loads, (Path(folder) / "bench" / "metrics.jsonl").read_text().splitlines())
        counted = [record for record in records if record["kind"] == "step" and record["step"] > SKIPPED]
    images = sum(record["throughput/samples_per_s"] * record["time/step_s"] for record in counted)
    speed = images / sum(record["time/step_s"] for record in counted)
    return speed, [record["time/coordinator_s"] for record in counted]
