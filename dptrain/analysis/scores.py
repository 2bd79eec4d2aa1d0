"""Probabilities of every class for every sample of a split, and what follows from them image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dptrain.kernels import loss
from dptrain.types import F32, F64, I64, U8

_BATCH = 256


class Samples(Protocol):
    """Where images come from: `dptrain.data.ShardSource`."""

    def evaluation(self, name: str, start: int, stop: int) -> tuple[U8, I64]:
        """Samples [start, stop) of a split."""
        ...

    def size(self, name: str) -> int:
        """Number of samples of a split."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Of the samples of one split, in its order."""

    labels: I64  #: (n,)
    probabilities: F64  #: (n, classes)

    @property
    def order(self) -> I64:
        """(n, classes): classes from the most to the least probable; of equals the lower number first."""
        return np.argsort(-self.probabilities, axis=1, kind="stable")

    @property
    def guesses(self) -> I64:
        """(n,): the most probable class."""
        return self.order[:, 0]

    def wrong(self) -> I64:
        """Numbers of the samples that are misclassified, the most certain mistake first."""
        guesses = self.guesses
        found = np.flatnonzero(guesses != self.labels)
        return found[np.argsort(-self.probabilities[found, guesses[found]], kind="stable")]


def score(logits: Callable[[U8], F32], source: Samples, split: str) -> Scores:
    """Scores the whole split."""
    labels, probabilities, size = [], [], source.size(split)
    for at in range(0, size, _BATCH):
        x, y = source.evaluation(split, at, min(size, at + _BATCH))
        labels.append(y)
        probabilities.append(loss.probabilities(logits(x)))
    return Scores(np.concatenate(labels), np.concatenate(probabilities))
