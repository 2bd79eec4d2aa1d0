"""A toy run for the simulator: a "network" that costs nothing, whose gradients react to every wrong bit.

Also the oracle: the same run in one loop, without any machine. It shares with the machines the optimizer only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from dptrain.cluster.events import EvaluationTask, GradientTask, Prepared, PrepareTask, Score, Task
from dptrain.cluster.job import Evaluations, Job
from dptrain.cluster.state import TrainingState, layout_digest
from dptrain.model import ParamLayout, ParamSpec, ShardResult
from dptrain.optim.optimizer import Optimizer, make_optimizer
from dptrain.optim.schedule import Schedule, make_schedule
from dptrain.settings import TrainingConfig
from dptrain.types import F32, I64

PARAMS = ParamLayout((ParamSpec("conv.weight", (2, 3)), ParamSpec("bn.weight", (2,), decay=False)))
BUFFERS = ParamLayout((ParamSpec("bn.running_mean", (2,)), ParamSpec("bn.running_var", (2,))))
DATASET, CANARY, NUMERICS = "d" * 64, "c" * 64, "toy-v1"


@dataclass(frozen=True, slots=True)
class ToySampler:
    """Epochs of `full` steps of `shards` shards of `size` samples, then one short step of a shorter shard."""

    shards_per_step: int
    full: int
    size: int = 4

    @property
    def steps_per_epoch(self) -> int:
        """Full steps and the short one."""
        return self.full + 1

    def shards(self, step: int, /) -> int:
        """The short step has one shard less (at least one)."""
        return self.shards_per_step if (step + 1) % self.steps_per_epoch else max(1, self.shards_per_step - 1)

    def shard(self, step: int, index: int, /) -> I64:
        """The last shard of the short step has one sample less."""
        short = (step + 1) % self.steps_per_epoch == 0 and index == self.shards(step) - 1
        return np.arange(self.size - short, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Toy:
    """One run of the toy."""

    shards: int = 4
    steps_per_epoch: int = 3
    epochs: int = 3
    validation: int = 20
    test: int = 17

    @property
    def sampler(self) -> ToySampler:
        """Of the training split."""
        return ToySampler(self.shards, self.steps_per_epoch - 1)

    @property
    def total_steps(self) -> int:
        """Of the whole run."""
        return self.steps_per_epoch * self.epochs

    def job(self, term: int = 1, stop_after: int = 0, checkpoint_every: int = 0, audit: float = 0.0) -> Job:
        """For one life of the coordinator."""
        return Job(
            term=term,
            identity="toy",
            config="{}",
            dataset=DATASET,
            canary=CANARY,
            numerics=NUMERICS,
            sampler=self.sampler,
            total_steps=self.total_steps,
            evaluations=Evaluations(self.validation, self.test, shard=8),
            stop_after=stop_after,
            checkpoint_every=checkpoint_every,
            hash_every=1,
            audit=audit,
        )

    def rules(self) -> tuple[Optimizer, Schedule]:
        """How the weights are updated."""
        training = TrainingConfig(epochs=self.epochs, lr=0.05)
        return make_optimizer(training, PARAMS), make_schedule(training, self.steps_per_epoch, self.total_steps)

    def state(self) -> TrainingState:
        """Before the first step."""
        params = np.linspace(-1, 1, PARAMS.size, dtype=np.float32)
        buffers = np.ones(BUFFERS.size, np.float32)
        return TrainingState(PARAMS, BUFFERS, params, buffers, self.rules()[0].init(PARAMS.size))

    def compute(self, task: Task) -> Prepared | ShardResult | Score:
        """What a worker's compute thread would say."""
        match task:
            case PrepareTask():
                return Prepared(layout_digest(PARAMS, BUFFERS), DATASET, CANARY, PARAMS, BUFFERS)
            case GradientTask(step=step, shard=shard, params=params):
                return gradient(params, step, shard, len(self.sampler.shard(step, shard)))
            case EvaluationTask(split=split, index=index, start=start, stop=stop, params=params, buffers=buffers):
                return score(params, buffers, f"{split} {index}", stop - start)

    def compute_wrongly(self, task: Task) -> Prepared | ShardResult | Score:
        """What a broken machine would say: one bit of every gradient is wrong."""
        result = self.compute(task)
        if isinstance(result, ShardResult):
            result.gradient.view(np.uint32)[3] ^= np.uint32(1)
        return result


def _noise(seed: str, size: int) -> F32:
    """`size` <= 8 numbers in [-1, 1) of very different magnitudes: the order of addition shows in every sum."""
    raw = np.frombuffer(hashlib.sha256(seed.encode()).digest(), "<u4")[:size]
    scale = (1 << (raw & 7)).astype(np.float32)
    small: F32 = (raw >> 8).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    return small / scale


def gradient(params: F32, step: int, shard: int, samples: int) -> ShardResult:
    """Depends on every bit of the weights, on step and shard."""
    noise = _noise(f"{step} {shard}", PARAMS.size)
    statistics = _noise(f"{step} {shard} s", BUFFERS.size) + params[: BUFFERS.size]
    hits = int(noise.view(np.uint32)[0]) % (samples + 1)
    return ShardResult(noise + params * params, statistics, float(noise[1]) + float(params[2]) * samples, hits, samples)


def score(params: F32, buffers: F32, seed: str, samples: int) -> Score:
    """Depends on every bit of the weights and the running statistics."""
    raw = hashlib.sha256(params.tobytes() + buffers.tobytes() + seed.encode()).digest()
    hits = raw[0] % (samples + 1)
    return Score(samples, hits, hits + raw[1] % (samples - hits + 1), raw[2] / 7 * samples)


@dataclass(frozen=True, slots=True)
class Expected:
    """What any run of a toy must come to."""

    states: tuple[str, ...]  #: sha256 of the state after 0, 1, 2, ... steps
    losses: tuple[float, ...]  #: of StepDone, for the first step, the second, ...
    scores: tuple[tuple[int, str, float, float, bool], ...]  #: of Evaluated: step, split, loss, accuracy, best


def oracle(toy: Toy) -> Expected:
    """The run in one plain loop."""
    state, (optimizer, schedule) = toy.state(), toy.rules()
    states, losses, scores = [state.sha256()], [], []
    best_accuracy, best = -1.0, (0, state.params, state.buffers)
    for step in range(toy.total_steps):
        total = _sum(toy, state.params, step, 0, toy.sampler.shards(step))
        n = np.float32(total.samples)
        state.buffers[:] = np.float32(0.9) * state.buffers + np.float32(0.1) * (total.statistics / n)
        optimizer.update(state.params, total.gradient / n, state.optimizer, schedule(step), step)
        state.step = step + 1
        states.append(state.sha256())
        losses.append(total.loss / total.samples)
        if (step + 1) % toy.steps_per_epoch == 0 and toy.validation:
            loss, accuracy = _score(state.params, state.buffers, "validation", toy.validation)
            better = accuracy > best_accuracy
            if better:
                best_accuracy, best = accuracy, (step + 1, state.params.copy(), state.buffers.copy())
            scores.append((step + 1, "validation", loss, accuracy, better))
    if toy.test:
        at, params, buffers = best if toy.validation else (toy.total_steps, state.params, state.buffers)
        scores.append((at, "test", *_score(params, buffers, "test", toy.test), False))
    return Expected(tuple(states), tuple(losses), tuple(scores))


def _sum(toy: Toy, params: F32, step: int, first: int, last: int) -> ShardResult:
    if last - first == 1:
        return gradient(params, step, first, len(toy.sampler.shard(step, first)))
    power = 1
    while 2 * power < last - first:
        power *= 2
    left = _sum(toy, params, step, first, first + power)
    return left.combine(_sum(toy, params, step, first + power, last))


def _score(params: F32, buffers: F32, split: str, samples: int) -> tuple[float, float]:
    parts = [score(params, buffers, f"{split} {at // 8}", min(8, samples - at)) for at in range(0, samples, 8)]
    loss = 0.0
    for part in parts:
        loss += part.loss
    return loss / samples, sum(part.hits for part in parts) / samples
