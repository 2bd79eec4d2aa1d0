"""Loss and accuracy of a trained network on one split of its data set. Imports the kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dptrain.api.trained import Trained
from dptrain.api.views import scores, views
from dptrain.data.shards import ShardSource
from dptrain.errors import DataError
from dptrain.kernels import loss
from dptrain.types import F64, I64

_BATCH = 256  #: samples scored between two calls of `watch`


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Of the samples of one class."""

    name: str
    samples: int
    hits: int

    @property
    def accuracy(self) -> float:
        """0 where there is no sample of it."""
        return self.hits / max(1, self.samples)


@dataclass(frozen=True, slots=True)
class Score:
    """Of one split."""

    split: str
    samples: int
    step: int  #: of the weights
    loss: float  #: mean, by the criterion of the run
    accuracy: float
    accuracy5: float  #: the right class is among the first five
    classes: tuple[ClassScore, ...]


def score(
    trained: Trained, source: ShardSource, split: str, *, five: bool = False, watch: Callable[[int, int], None]
) -> Score:
    """`five`: mean over the middle and the four corner crops. `watch` is told (samples scored, all of them).

    Raises DataError for a split the run has not; UsageError for five crops of images that are not cropped.
    """
    size = source.size(split)
    if size == 0:
        validation = trained.facts.config.data.validation
        raise DataError(f"{trained.path}: the run has no {split} split (validation = {validation})")
    seen = views(source, five=five)
    found: list[tuple[F64, I64, I64]] = []  #: loss, rank of the right class, right class
    for at in range(0, size, _BATCH):
        stop = min(size, at + _BATCH)
        logits, y = scores(trained, source, split, (at, stop), seen)
        found.append((trained.criterion(logits, y)[0], loss.ranks(logits, y), y))
        watch(stop, size)
    losses, ranks, labels = map(np.concatenate, zip(*found, strict=True))
    return Score(
        split,
        samples=size,
        step=trained.step,
        loss=sum(losses.tolist()) / (trained.criterion.count(labels) or 1.0),
        accuracy=int((ranks == 0).sum()) / size,
        accuracy5=int((ranks < 5).sum()) / size,
        classes=tuple(_of_class(number, name, ranks, labels) for number, name in enumerate(trained.facts.data.classes)),
    )


def _of_class(number: int, name: str, ranks: I64, labels: I64) -> ClassScore:
    mine = ranks[labels == number]
    return ClassScore(name, len(mine), int((mine == 0).sum()))
