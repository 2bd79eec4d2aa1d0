"""The course of a run: which shards make a step, what is scored when, what follows what. Fixed before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from dptrain.model import Criterion, Sampler, Source
from dptrain.settings import Config
from dptrain.state import TrainingState

SCORED = ("validation", "test")  #: splits


@dataclass(frozen=True, slots=True)
class Course:
    """Known to the loop and to the coordinator. Holds no image and no network."""

    sampler: Sampler
    steps: int  #: updates of the whole run
    sizes: Mapping[str, int]  #: images of each split in SCORED; 0: it is never scored
    every: int = 1  #: epochs between validations, >= 1; the last step is always followed by one
    first: bool = False  #: the validation split is scored before the first step too
    shard: int = 256  #: images per shard of a score: 10 to 20 times the forward work of a training shard
    patience: int = 0  #: epochs without a better validation after which the training ends; 0: it never does
    bn_momentum: float = 0.1  #: share of a step in BatchNorm's running statistics; 0: their mean over the epoch so far
    step_weight: Callable[[int], float] | None = None  #: with class weights: what the images of a step count together
    split_weights: Mapping[str, float] = field(default_factory=dict)  #: with class weights: the same of a split

    def next_phase(self, state: TrainingState) -> str:
        """What follows: "train" (one step), "validation", "test" or "" (nothing: the run is complete).

        It depends on the state alone, so a resumed run continues exactly where its checkpoint was written.
        """
        if self.validates(state.step) and state.evaluated_step < state.step:
            return "validation"
        if state.step < self.steps and not self.gives_up(state):
            return "train"
        return "test" if self.sizes["test"] and not state.tested else ""

    def gives_up(self, state: TrainingState) -> bool:
        """Whether the validation after this very step was one too many without a better one (early stopping)."""
        waited = state.step - state.best_step
        return state.evaluated_step == state.step > 0 < self.patience * self.sampler.steps_per_epoch <= waited

    def validates(self, step: int) -> bool:
        """Whether the validation split is scored after `step` updates."""
        if not self.sizes["validation"]:
            return False
        if step in (0, self.steps):
            return self.first if step == 0 else True
        return self.ends_epoch(step) and step // self.sampler.steps_per_epoch % self.every == 0

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch ends with update number `step` (1 is the first)."""
        return step > 0 and step % self.sampler.steps_per_epoch == 0

    def parts(self, split: str) -> Iterator[tuple[str, int, int]]:
        """The shards of a score: (split, start, stop), in the order in which their sums are added."""
        for start in range(0, self.sizes[split], self.shard):
            yield split, start, min(start + self.shard, self.sizes[split])

    def has_part(self, index: int, part: tuple[str, int, int]) -> bool:
        """Whether `part` is the shard of a score with this index."""
        split, start, stop = part
        return start == index * self.shard and start < stop == min(start + self.shard, self.sizes.get(split, 0))

    def statistics_share(self, step: int) -> float:
        """Share of the batch in the running statistics at the update after `step` others."""
        return self.bn_momentum or 1.0 / (1 + step % self.sampler.steps_per_epoch)

    def step_count(self, step: int, samples: int) -> float:
        """What the sums of a step are divided by: its images, or the sum of their class weights (1 where that is 0)."""
        return samples if self.step_weight is None else self.step_weight(step) or 1.0

    def split_count(self, split: str) -> float:
        """What the loss of a split is divided by, likewise."""
        return self.split_weights.get(split, self.sizes[split]) or 1.0


def make_course(config: Config, source: Source, criterion: Criterion) -> Course:
    """Of the run that `config` describes."""
    sampler = source.sampler
    labels = {split: source.split_labels(split) for split in SCORED}

    def step_weight(step: int) -> float:
        """One number for all shards: it does not depend on which worker computes which."""
        shards = range(sampler.shards(step))
        return criterion.count(np.concatenate([source.labels(step, shard) for shard in shards]))

    return Course(
        sampler=sampler,
        steps=config.training.epochs * sampler.steps_per_epoch,
        sizes={split: len(found) for split, found in labels.items()},
        every=config.deployment.eval_every,
        first=config.deployment.eval_first,
        patience=config.training.patience,
        bn_momentum=config.training.bn_momentum,
        step_weight=step_weight if criterion.weights else None,
        split_weights={split: criterion.count(found) for split, found in labels.items()} if criterion.weights else {},
    )
