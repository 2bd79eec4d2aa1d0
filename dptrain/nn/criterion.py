"""What is minimised: from scores and labels to the loss of each sample, and the gradient of their sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels import criterion, loss
from dptrain.types import F64, I64, Floats

#: (n, classes), (n,) -> losses (n,) float64, gradient of their SUM (n, classes) in the dtype of the scores.
Criterion: TypeAlias = Callable[[Floats, I64], tuple[F64, Floats]]


def nll(log_probabilities: Floats, labels: I64) -> tuple[F64, Floats]:
    """Negative log-likelihood, for a network that ends in LogSoftMax: minus the right class's entry."""
    rows = np.arange(len(labels))
    gradient = np.zeros_like(log_probabilities)
    gradient[rows, labels] = -1
    return -log_probabilities[rows, labels].astype(np.float64), gradient


CRITERIONS: dict[str, Criterion] = {
    "cross-entropy": loss.cross_entropy,
    "nll": nll,
    "hinge": criterion.hinge,
    "bce": criterion.binary_cross_entropy,
}


def weighted(plain: Criterion, weights: tuple[float, ...]) -> Criterion:
    """Each sample counts the weight of its class. Sums: divided by the samples, not, as in Torch, by their weights."""
    by_class = np.array(weights)

    def measure(scores: Floats, labels: I64) -> tuple[F64, Floats]:
        losses, gradient = plain(scores, labels)
        counts = by_class[labels]
        return losses * counts, gradient * counts[:, None].astype(gradient.dtype)

    return measure


def make_criterion(name: str, weights: tuple[float, ...], classes: int) -> Criterion:
    """By its name. Raises UsageError for a name there is not, or weights that are not one a class."""
    if name not in CRITERIONS:
        raise UsageError(f"criterion {name!r} is unknown; there are {', '.join(CRITERIONS)}")
    if weights and len(weights) != classes:
        raise UsageError(f"class_weights: {len(weights)} weights, but the data set has {classes} classes")
    return weighted(CRITERIONS[name], weights) if weights else CRITERIONS[name]
