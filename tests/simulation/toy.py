"""A toy run for the simulator: a "network" that costs nothing, whose gradients react to every wrong bit.

`oracle` runs it by `dptrain.loop`: what every simulated history must come to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from dptrain.cluster.events import EvaluationTask, GradientTask, Prepared, PrepareTask, Task
from dptrain.cluster.job import Job
from dptrain.course import Course, make_course
from dptrain.loop import score_shard, train
from dptrain.model import ParamLayout, ParamSpec, ShardResult, ShardScore
from dptrain.optim.optimizer import Optimizer, make_optimizer
from dptrain.optim.schedule import Schedule, make_schedule
from dptrain.settings import Config, TrainingConfig
from dptrain.state import TrainingState, layout_digest
from dptrain.types import F32, I64, U8

PARAMS = ParamLayout((ParamSpec("conv.weight", (2, 3)), ParamSpec("bn.weight", (2,), decay=False)))
BUFFERS = ParamLayout((ParamSpec("bn.running_mean", (2,)), ParamSpec("bn.running_var", (2,))))
DATASET, CANARY, NUMERICS = "d" * 64, "c" * 64, "toy-v1"
SCORED = 8  #: samples of one evaluation shard


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

    @property
    def parts(self) -> tuple[Config, ToySource, ToyModel, ToyCriterion]:
        """What `dptrain.loop.train` takes, as `dptrain.workers.parts` opens it of a real run."""
        config = Config(training=TrainingConfig(epochs=self.epochs, lr=0.05))
        return config, ToySource(self.sampler, {"validation": self.validation, "test": self.test}), MODEL, CRITERION

    @property
    def course(self) -> Course:
        """Small shards, so that a split has several."""
        config, source, _, criterion = self.parts
        return replace(make_course(config, source, criterion), shard=SCORED)

    def job(self, term: int = 1, stop_after: int = 0, checkpoint_every: int = 0, audit: float = 0.0) -> Job:
        """For one life of the coordinator."""
        return Job(
            term=term,
            identity="toy",
            config="{}",
            dataset=DATASET,
            canary=CANARY,
            numerics=NUMERICS,
            course=self.course,
            stop_after=stop_after,
            checkpoint_every=checkpoint_every,
            hash_every=1,
            audit=audit,
        )

    def rules(self) -> tuple[Optimizer, Schedule]:
        """How the weights are updated."""
        training = self.parts[0].training
        return make_optimizer(training, PARAMS), make_schedule(training, self.steps_per_epoch, self.total_steps)

    def state(self) -> TrainingState:
        """Before the first step."""
        params = np.linspace(-1, 1, PARAMS.size, dtype=np.float32)
        buffers = np.ones(BUFFERS.size, np.float32)
        return TrainingState(PARAMS, BUFFERS, params, buffers, self.rules()[0].init(PARAMS.size))

    def compute(self, task: Task) -> Prepared | ShardResult | ShardScore:
        """What a worker's compute thread would say."""
        match task:
            case PrepareTask():
                return Prepared(layout_digest(PARAMS, BUFFERS), DATASET, CANARY, self.course, PARAMS, BUFFERS)
            case GradientTask(step=step, shard=shard, params=params):
                return gradient(params, step, shard, len(self.sampler.shard(step, shard)))
            case EvaluationTask(split=split, start=start, stop=stop, params=params, buffers=buffers):
                _, source, model, criterion = self.parts
                return score_shard(model, source, criterion, (params, buffers), (split, start, stop))

    def compute_wrongly(self, task: Task) -> Prepared | ShardResult | ShardScore:
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


def score(params: F32, buffers: F32, name: str, samples: int) -> ShardScore:
    """Depends on every bit of the weights and the running statistics. name: "validation 2", a split and its shard."""
    images = np.frombuffer(name.encode(), np.uint8)
    return CRITERION.score(MODEL.logits(params, buffers, images), np.zeros(samples, np.int64))


class ToyModel:
    """A `dptrain.model.Model` that looks at no image but for its name."""

    params, buffers = PARAMS, BUFFERS

    def gradient(self, params: F32, images: U8, labels: I64, step: int = 0, shard: int = 0) -> ShardResult:
        """See `gradient`."""
        return gradient(params, step, shard, len(labels))

    def logits(self, params: F32, buffers: F32, images: U8) -> F32:
        """(32,) bytes, for all the images together."""
        digest = hashlib.sha256(params.tobytes() + buffers.tobytes() + images.tobytes()).digest()
        return np.frombuffer(digest, np.uint8).astype(np.float32)


class ToyCriterion:
    """A `dptrain.model.Criterion`."""

    weights = ()

    def count(self, labels: I64) -> float:
        """One each."""
        return len(labels)

    def score(self, logits: F32, labels: I64) -> ShardScore:
        """Hits and loss out of the first bytes."""
        raw, samples = logits.astype(int).tolist(), len(labels)
        hits = raw[0] % (samples + 1)
        return ShardScore(samples, hits, hits + raw[1] % (samples - hits + 1), raw[2] / 7 * samples)


MODEL, CRITERION = ToyModel(), ToyCriterion()


@dataclass(frozen=True, slots=True)
class ToySource:
    """A `dptrain.model.Source` whose images are the names of their shards."""

    sampler: ToySampler
    sizes: dict[str, int]

    def images(self, step: int, shard: int) -> tuple[U8, I64]:
        """None, and as many labels as the shard has samples."""
        return np.zeros(0, np.uint8), self.labels(step, shard)

    def labels(self, step: int, shard: int) -> I64:
        """All of class 0."""
        return np.zeros(len(self.sampler.shard(step, shard)), np.int64)

    def evaluation(self, split: str, start: int, stop: int) -> tuple[U8, I64]:
        """The name of a shard of a split."""
        return np.frombuffer(f"{split} {start // SCORED}".encode(), np.uint8), np.zeros(stop - start, np.int64)

    def split_labels(self, split: str) -> I64:
        """All of class 0."""
        return np.zeros(self.sizes[split], np.int64)


@dataclass(frozen=True, slots=True)
class Expected:
    """What any run of a toy must come to."""

    states: tuple[str, ...]  #: sha256 of the state after 0, 1, 2, ... steps
    losses: tuple[float, ...]  #: of StepDone, for the first step, the second, ...
    scores: tuple[tuple[int, str, float, float, bool], ...]  #: of Evaluated: step, split, loss, accuracy, best


def oracle(toy: Toy) -> Expected:
    """The run in one plain loop: `dptrain.loop`."""
    state, losses, scores = toy.state(), [], []
    states = [state.sha256()]
    for done in train(*toy.parts, state, toy.course):
        if done.phase == "train":
            states.append(state.sha256())
            losses.append(done.loss)
        else:
            best = done.phase == "test" and state.best_accuracy >= 0
            step = state.best_step if best else state.step
            scores.append((step, done.phase, done.loss, done.hits / done.samples, done.best))
    return Expected(tuple(states), tuple(losses), tuple(scores))
