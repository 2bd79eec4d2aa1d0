"""Training, defined: a whole run as one plain loop in one process. Nothing is distributed here.

A step has several shards of a few images each. The gradient of a shard is a SUM over its images, and all shards of a
step use the same weights. The sums are added along a fixed binary tree and divided once; then one update moves what is
not frozen. After an epoch the validation split is scored; at the end (`patience`: earlier) the best weights are tested.

    from dptrain.loop import train
    from dptrain.workers.parts import first_state, open_parts

    parts = open_parts(config, data_dir)
    for done in train(*parts, first_state(parts)):
        print(done.phase, done.state.step, done.loss, done.state.sha256())

The coordinator and its workers compute this loop together. After every step the state has the same bits, for any number
of workers and whichever of them die (tests/system/test_loop.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from dptrain.course import Course, make_course
from dptrain.errors import DivergedError
from dptrain.model import Batches, Criterion, Model, ShardResult, ShardScore, Source
from dptrain.optim.optimizer import Optimizer, make_optimizer
from dptrain.optim.schedule import make_schedule
from dptrain.settings import Config
from dptrain.state import TrainingState
from dptrain.types import F32


class Done(NamedTuple):
    """What has just been done: one step, or the score of one split."""

    phase: str  #: "train", "validation" or "test"
    state: TrainingState  #: after it. The loop continues with this object: copy what you keep
    loss: float  #: mean over the images; of a step: before its update
    hits: int  #: images whose highest score is the right class
    samples: int
    best: bool = False  #: the highest validation accuracy so far


def train(
    config: Config,
    source: Source,
    model: Model,
    criterion: Criterion,
    state: TrainingState,
    course: Course | None = None,
) -> Iterator[Done]:
    """Continues from `state`, in place, to the end of the run. course: None for that of `config`."""
    course = course or make_course(config, source, criterion)
    optimizer = make_optimizer(config.training, model.params)
    learning_rate = make_schedule(config.training, source.sampler.steps_per_epoch, course.steps)
    while phase := course.next_phase(state):
        if phase == "train":
            total = gradient_sum(model, source, state.params, state.step)
            loss = update(state, optimizer, total, learning_rate(state.step), course)
            if course.ends_epoch(state.step):
                close_epoch(state)
            yield Done(phase, state, loss, total.hits, total.samples)
        else:
            weights = state.weights_for(phase)
            score = add_scores(score_shard(model, source, criterion, weights, part) for part in course.parts(phase))
            loss, best = close_score(state, phase, score, course)
            yield Done(phase, state, loss, score.hits, score.samples, best)


def gradient_sum(model: Model, source: Batches, params: F32, step: int) -> ShardResult:
    """The sum over all shards of a step, each of them computed with the same `params`."""
    shards = range(source.sampler.shards(step))
    return tree_sum([model.gradient(params, *source.images(step, shard), step, shard) for shard in shards])


def split(first: int, last: int) -> int:
    """Where the children of the tree's node [first, last) meet; last - first >= 2."""
    return first + (1 << ((last - first - 1).bit_length() - 1))


def tree_sum(shards: Sequence[ShardResult]) -> ShardResult:
    """Adds along the fixed binary tree, in float32: the order of additions depends only on the number of shards."""
    if len(shards) == 1:
        return shards[0]
    middle = split(0, len(shards))
    return tree_sum(shards[:middle]).combine(tree_sum(shards[middle:]))


def update(state: TrainingState, optimizer: Optimizer, total: ShardResult, rate: float, course: Course) -> float:
    """Divides the sums of a step once and moves the weights, in place; returns the mean loss over the step.

    Running statistics become (1 - share) * running + share * (sum / images), as in torch.nn.BatchNorm2d. Every
    operation rounds to float32 once per element; then the optimizer has its own order. DivergedError: `state` is void.
    """
    share, count = course.statistics_share(state.step), course.step_count(state.step, total.samples)
    if fault := total.not_finite(state.params_layout, state.buffers_layout):  # a sum of finite shards may overflow
        raise DivergedError(f"step {state.step + 1}: the sum over all shards is not finite in {fault}")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found below, by name
        mean = np.divide(total.statistics, np.float32(total.samples))
        np.multiply(mean, np.float32(share), out=mean)
        np.multiply(state.buffers, np.float32(1.0 - share), out=state.buffers)
        np.add(state.buffers, mean, out=state.buffers)
        gradient = np.divide(total.gradient, np.float32(count))
        optimizer.update(state.params, gradient, state.optimizer, rate, state.step)
    if fault := state.not_finite():  # and so may an update with a finite sum
        raise DivergedError(f"step {state.step + 1}: {fault} is not finite after the update")
    state.step += 1
    state.epoch_loss += total.loss * (total.samples / count)
    state.epoch_hits += total.hits
    state.epoch_samples += total.samples
    return total.loss / count


def close_epoch(state: TrainingState) -> tuple[float, float]:
    """Mean loss and accuracy over the images of the epoch that has just ended; the next epoch starts from 0."""
    loss, accuracy = state.epoch_loss / state.epoch_samples, state.epoch_hits / state.epoch_samples
    state.epoch_loss, state.epoch_hits, state.epoch_samples = 0.0, 0, 0
    state.history |= {"train_loss": loss, "train_accuracy": accuracy}
    return loss, accuracy


def score_shard(
    model: Model, source: Source, criterion: Criterion, weights: tuple[F32, F32], part: tuple[str, int, int]
) -> ShardScore:
    """Sums over images [start, stop) of a split. weights: params and running statistics. part: (split, start, stop)."""
    images, labels = source.evaluation(*part)
    return criterion.score(model.logits(*weights, images), labels)


def add_scores(shards: Iterable[ShardScore]) -> ShardScore:
    """The score of a split: its shards added one after another, in their order."""
    return reduce(ShardScore.combine, shards, ShardScore())


def close_score(state: TrainingState, scored: str, total: ShardScore, course: Course) -> tuple[float, bool]:
    """Notes the score of a split and keeps the weights with the best validation; returns (mean loss, whether best)."""
    loss, accuracy = total.loss / course.split_count(scored), total.hits / total.samples
    best = scored == "validation" and state.step > 0 and accuracy > state.best_accuracy
    if best:
        state.best_accuracy, state.best_step = accuracy, state.step
        state.best_params, state.best_buffers = state.params.copy(), state.buffers.copy()
    if scored == "validation":
        state.evaluated_step = state.step
    else:
        state.tested = True
    state.history |= {f"{scored}_loss": loss, f"{scored}_accuracy": accuracy}
    return loss, best
