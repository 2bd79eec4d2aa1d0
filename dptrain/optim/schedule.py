"""Learning-rate schedules: pure functions from the number of updates already applied to a learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dptrain.optim.exact import cos_pi, power
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


def restarts(start: float, length: int, stretch: int) -> Schedule:
    """1 until step `start`, then half cosines from 1 to 0. The first has `length` steps, each next one `stretch` times
    as many as the one before. Loshchilov & Hutter 2017 (arXiv 1608.03983).
    """

    def at(step: int) -> float:
        passed, cycle = max(0, step - start), length
        while passed >= cycle:
            passed -= cycle
            cycle *= stretch
        return 0.5 * (1.0 + cos_pi(passed / cycle))

    return at


def polynomial(start: float, total: float, exponent: int) -> Schedule:
    """1 until step `start`, then (1 - (k - start) / (total - start)) ** exponent: 0 at `total`. Exponent 1: a line."""
    span = max(1.0, total - start)
    return lambda step: power(1.0 - min(1.0, max(0.0, step - start) / span), exponent)


def triangular(peak: float, total: float, initial: float, final: float) -> Schedule:
    """A line from `initial` at step 0 to 1 at step `peak`, and a line from there to `final` at `total`."""
    falling = above(final, polynomial(peak, total, 1))
    return lambda step: initial + (1.0 - initial) * (step / peak) if step < peak else falling(step)


def above(final: float, decay: Schedule) -> Schedule:
    """A factor that falls from 1 to 0, made to fall from 1 to `final`."""
    return lambda step: final + (1.0 - final) * decay(step)


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
    """The learning rate at each step of a run: lr * warm-up * decay; triangular has no warm-up, it rises itself.

    Milestones, warm-up and periods are given in epochs.
    """
    rises = training.schedule == "triangular"
    warm = 0.0 if rises else training.warmup * steps_per_epoch
    peak, final, period = int(training.rise * total_steps), training.final, training.period * steps_per_epoch
    decays: dict[str, Callable[[], Schedule]] = {
        "constant": lambda: constant(1.0),
        "steps": lambda: steps(tuple(epoch * steps_per_epoch for epoch in training.milestones), training.factor),
        "cosine": lambda: above(final, cosine(warm, total_steps)),
        "restarts": lambda: above(final, restarts(warm, period, training.stretch)),
        "linear": lambda: above(final, polynomial(warm, total_steps, 1)),
        "polynomial": lambda: above(final, polynomial(warm, total_steps, training.exponent)),
        "triangular": lambda: triangular(peak, total_steps, training.initial, final),
        "table": lambda: table(training.rates, steps_per_epoch),
    }
    start = low_start(warm, training.warmup_factor) if training.warmup_factor else warmup(warm)
    return product(constant(training.lr), start, decays[training.schedule]())
