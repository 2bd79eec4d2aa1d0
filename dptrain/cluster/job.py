"""What the coordinator is to do: fixed before it starts, never changed. Data only, and the order of a run's phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from dptrain.cluster.state import TrainingState
from dptrain.types import I64


class Sampler(Protocol):
    """Which samples make a step: `dptrain.data.sampler.Sampler`, as far as the coordinator needs it."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of every epoch."""
        ...

    def shards(self, step: int, /) -> int:
        """Number of shards of a step, >= 1."""
        ...

    def shard(self, step: int, index: int, /) -> I64:
        """Sample ids of one shard, at least one."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluations:
    """What is scored when."""

    validation: int  #: samples of the validation split; 0: there is none
    test: int  #: samples of the test split, scored once, at the end; 0: never
    shard: int  #: samples of one evaluation shard
    every: int = 1  #: epochs between validations, >= 1; the last step is always followed by one
    first: bool = False  #: the validation split is scored before the first step, too
    counted: Mapping[str, float] = field(
        default_factory=dict
    )  #: what a split's samples count in the loss, if not one each


@dataclass(frozen=True, slots=True)
class Job:
    """One run as this life of the coordinator carries it on."""

    term: int
    identity: str
    config: str  #: JSON of the identity part of the configuration, sent to the workers
    dataset: str  #: SHA-256 every worker's data set must have
    canary: str  #: SHA-256 every worker must reproduce, see `workers.parts.canary_digest`
    numerics: str  #: fingerprint of the arithmetic every worker must have
    sampler: Sampler
    total_steps: int
    evaluations: Evaluations
    stop_after: int = 0  #: pause (with a checkpoint) once so many steps are applied; 0: no
    checkpoint_every: int = 0  #: steps; 0: at the end of each epoch
    hash_every: int = 0  #: steps; 0: only with checkpoints
    bn_momentum: float = 0.1  #: 0: 1 / (1 + n) for the n-th step of an epoch, that is the mean over the epoch so far
    audit: float = 0.0  #: part of all shards that is computed by two workers and compared
    max_wait: float = 0.0  #: seconds without any worker after which the run stops (with a checkpoint); 0: never
    counted: Callable[[int], float] | None = None  #: what the samples of a step count in the loss; None: one each

    def take(self, step: int) -> float:
        """What the running statistics take of the batch of the update after `step` others."""
        return self.bn_momentum or 1.0 / (1 + step % self.sampler.steps_per_epoch)

    def divisor(self, step: int, samples: int) -> float:
        """What the sums of a step are divided by: its samples, or what they count under class weights."""
        return self.counted(step) or 1.0 if self.counted else samples  # where nothing counts, nothing moves

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch is over when `step` updates are applied."""
        return step > 0 and step % self.sampler.steps_per_epoch == 0

    def validates(self, step: int) -> bool:
        """Whether the validation split is scored after `step` updates."""
        plan = self.evaluations
        if not plan.validation or step == 0:
            return plan.validation > 0 and plan.first
        if step == self.total_steps:
            return True
        return self.ends_epoch(step) and step // self.sampler.steps_per_epoch % plan.every == 0

    def checkpoints(self, step: int) -> bool:
        """Whether a checkpoint is due after `step` updates (after their validation, if there is one)."""
        if step in (self.total_steps, self.stop_after):
            return True
        return step % self.checkpoint_every == 0 if self.checkpoint_every else self.ends_epoch(step)

    def hashes(self, step: int) -> bool:
        """Whether StepDone carries hashes after `step` updates."""
        return self.checkpoints(step) or (self.hash_every > 0 and step % self.hash_every == 0)


@dataclass(frozen=True, slots=True)
class Train:
    """Compute and apply the next step."""


@dataclass(frozen=True, slots=True)
class Score:
    """Score a split."""

    split: str  #: "validation", "test"


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to do, or nothing before the next start."""

    reason: str


Phase: TypeAlias = Train | Score | End


def next_phase(job: Job, state: TrainingState) -> Phase:
    """What follows, from the state alone: a resumed run goes on exactly where the checkpoint was written."""
    if job.validates(state.step) and state.evaluated_step < state.step:
        return Score("validation")
    if state.step < job.total_steps:
        return End(f"stopped after step {state.step}") if 0 < job.stop_after <= state.step else Train()
    if job.evaluations.test and not state.tested:
        return Score("test")
    return End("the run is complete")
