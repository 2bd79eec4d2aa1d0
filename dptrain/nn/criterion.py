"""What is minimised: from scores and labels to the loss of each sample, and the gradient of their sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Criterion:
    """A measure, and what the samples of each class count in it.

    Everything stays a SUM. The mean over a batch is divided once, by `count` of all its labels: with class weights that
    is the sum of the weights, as in Torch's ClassNLLCriterion (sizeAverage) and in PyTorch, not the number of samples.
    """

    plain: Measure
    weights: tuple[float, ...] = ()  #: by class; (): one each

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
        return ShardScore(len(labels), int((ranks == 0).sum()), int((ranks < 5).sum()), sum(losses.tolist()))

    def count(self, labels: I64) -> float:
        """What these samples count together. Exact in any order: the samples of a class are counted first."""
        if not self.weights:
            return len(labels)
        samples = np.bincount(labels, minlength=len(self.weights)).tolist()
        return sum((n * weight for n, weight in zip(samples, self.weights, strict=True)), 0.0)


PLAIN = Criterion(loss.cross_entropy)


def make_criterion(name: str, weights: tuple[float, ...], classes: int) -> Criterion:
    """By its name. Raises UsageError for a name there is not, or weights that are not one a class, or all 0."""
    if name not in MEASURES:
        raise UsageError(f"criterion {name!r} is unknown; there are {', '.join(MEASURES)}")
    if weights and len(weights) != classes:
        raise UsageError(f"class_weights: {len(weights)} weights, but the data set has {classes} classes")
    if weights and not any(weights):
        raise UsageError("class_weights: every weight is 0; at least one class must count")
    return Criterion(MEASURES[name], weights)
