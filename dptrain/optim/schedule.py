"""Learning-rate schedules: pure functions from the number of updates already applied to a learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dptrain.optim.exact import cos_pi
from dptrain.settings import TrainingConfig

Schedule: TypeAlias = Callable[[int], float]  #: step (0 for the first update) -> learning rate, or a factor of it


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda _step: value


def steps(milestones: tuple[int, ...], factor: float) -> Schedule:
    """1, multiplied by `factor` at each milestone (a step) that has been reached."""

    def at(step: int) -> float:
        value = 1.0
        for milestone in milestones:
            if step >= milestone:
                value *= factor
        return value

    return at


def cosine(start: float, total: float) -> Schedule:
    """1 until step `start`, then half a cosine to 0 at `total`: (1 + cos(pi (k - start) / (total - start))) / 2."""
    span = max(1.0, total - start)
    return lambda step: 0.5 * (1.0 + cos_pi(min(1.0, max(0.0, step - start) / span)))


def table(values: tuple[float, ...], length: int) -> Schedule:
    """One value per `length` steps; the last one stays. For one factor per epoch."""
    return lambda step: values[min(step // length, len(values) - 1)]


def warmup(length: float) -> Schedule:
    """Linear: (k + 1) / length at step k, 1 from then on. Goyal et al. 2017 (arXiv 1706.02677), without the offset."""
    return lambda step: min(1.0, (step + 1) / length) if length > 0 else 1.0


def low_start(length: float, factor: float) -> Schedule:
    """`factor` for the first `length` steps, then 1: He et al. 2015 at 110 layers (0.1), gcr (0.01, 400 steps)."""
    return lambda step: factor if step < length else 1.0


def product(*factors: Schedule) -> Schedule:
    """The product of several schedules, multiplied from left to right."""

    def at(step: int) -> float:
        value = 1.0
        for factor in factors:
            value *= factor(step)
        return value

    return at


def make_schedule(training: TrainingConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The learning rate at each step of a run: lr * warm-up * decay. Milestones and warm-up are given in epochs."""
    warm = training.warmup * steps_per_epoch
    decays: dict[str, Callable[[], Schedule]] = {
        "constant": lambda: constant(1.0),
        "steps": lambda: steps(tuple(epoch * steps_per_epoch for epoch in training.milestones), training.factor),
        "cosine": lambda: cosine(warm, total_steps),
        "table": lambda: table(training.rates, steps_per_epoch),
    }
    start = low_start(warm, training.warmup_factor) if training.warmup_factor else warmup(warm)
    return product(constant(training.lr), start, decays[training.schedule]())
