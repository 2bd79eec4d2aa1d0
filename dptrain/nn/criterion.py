"""The losses: from scores and labels to the loss of each image, and the gradient of their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import TypeAlias

import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels import loss
from dptrain.model import ShardScore
from dptrain.types import F64, I64, Floats

#: (n, classes), (n,) -> losses (n,) float64, gradient of their SUM (n, classes) in the dtype of the scores.
Measure: TypeAlias = Callable[[Floats, I64], tuple[F64, Floats]]


def nll(log_probabilities: Floats, labels: I64) -> tuple[F64, Floats]:
    """Negative log-likelihood, for a network that ends in LogSoftMax: minus the right class's entry."""
    rows = np.arange(len(labels))
    gradient = np.zeros_like(log_probabilities)
    gradient[rows, labels] = -1
    return -log_probabilities[rows, labels].astype(np.float64), gradient


MEASURES: dict[str, Measure] = {
    "cross-entropy": loss.cross_entropy,
    "nll": nll,
    "hinge": loss.hinge,
    "bce": loss.binary_cross_entropy,
}


def added(values: Iterable[float]) -> float:
    """The values added one after another, from 0.0: the same bits in every Python.

    From Python 3.12 on, `sum` corrects the rounding of floats, so its results differ from those of 3.11.
    """
    return reduce(add, values, 0.0)


@dataclass(frozen=True, slots=True)
class Criterion:
    """A loss, and the weight of each class in it.

    Everything is a SUM. The sum over a batch is divided once, by `count` of all its labels. With class weights that is
    the sum of the weights, not the number of images, as in Torch's ClassNLLCriterion (sizeAverage) and in PyTorch.
    """

    plain: Measure
    weights: tuple[float, ...] = ()  #: one per class; (): all 1

    def __call__(self, scores: Floats, labels: I64) -> tuple[F64, Floats]:
        losses, gradient = self.plain(scores, labels)
        if not self.weights:
            return losses, gradient
        counts = np.array(self.weights)[labels]
        return losses * counts, gradient * counts[:, None].astype(gradient.dtype)

    def score(self, logits: Floats, labels: I64) -> ShardScore:
        """Sums over images: (n, classes) scores of a network, (n,) labels."""
        losses, _ = self(logits, labels)
        ranks = loss.ranks(logits, labels)
        return ShardScore(len(labels), int((ranks == 0).sum()), int((ranks < 5).sum()), added(losses.tolist()))

    def count(self, labels: I64) -> float:
        """The sum of the weights of these labels. Exact in any order: the images of each class are counted first."""
        if not self.weights:
            return len(labels)
        images = np.bincount(labels, minlength=len(self.weights)).tolist()
        return added(n * weight for n, weight in zip(images, self.weights, strict=True))


PLAIN = Criterion(loss.cross_entropy)


def make_criterion(name: str, weights: tuple[float, ...], classes: int, smoothing: float = 0.0) -> Criterion:
    """The criterion of this name. `smoothing`: of the labels; for cross-entropy without weights.

    Raises UsageError for an unknown name, and for weights that are not one per class or all 0.
    """
    if name not in MEASURES:
        raise UsageError(f"criterion {name!r} is unknown; there are {', '.join(MEASURES)}")
    if weights and len(weights) != classes:
        raise UsageError(f"class_weights: {len(weights)} weights, but the data set has {classes} classes")
    if weights and not any(weights):
        raise UsageError("class_weights: every weight is 0; at least one class must count")
    return Criterion(partial(loss.cross_entropy, smoothing=smoothing) if smoothing else MEASURES[name], weights)
