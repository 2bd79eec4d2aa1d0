"""Scores of samples as a network sees them from one place, or from five (middle and corners). Imports kernels."""

from __future__ import annotations

import numpy as np

from dptrain.api.trained import Trained
from dptrain.data.shards import ShardSource
from dptrain.errors import UsageError
from dptrain.kernels import elementary
from dptrain.types import F32, F64, I64


def views(source: ShardSource, *, five: bool) -> tuple[str, ...]:
    """Which there are. Raises UsageError where five are asked for and training crops nothing."""
    known = source.pipeline.views
    if five and len(known) == 1:
        names = ", ".join(operation.name for operation in source.pipeline.operations) or "nothing"
        raise UsageError(f"five crops need a crop or window in the run's augmentation, which is {names}")
    return known if five else known[:1]


def scores(
    trained: Trained, source: ShardSource, split: str, span: tuple[int, int], seen: tuple[str, ...]
) -> tuple[F32, I64]:
    """Logits (n, classes) and labels of samples [start, stop). Of several views: log of the mean probability; the mean
    score where the run's criterion makes no probabilities of scores.
    """
    logits, labels = [], np.empty(0, np.int64)
    for view in seen:
        x, labels = source.evaluation(split, *span, view)
        logits.append(trained.model.logits(trained.params, trained.buffers, x))
    if len(seen) == 1:
        return logits[0], labels
    if trained.facts.config.model.criterion in ("hinge", "bce"):
        return np.asarray(np.mean(logits, axis=0, dtype=np.float64), np.float32), labels
    return combined(logits), labels


def combined(logits: list[F32]) -> F32:
    """The log of the mean over the views of the softmax of their logits, in float64 until the end."""
    total: F64 = np.zeros(logits[0].shape)
    for one in logits:
        odds = elementary.exp(one.astype(np.float64) - one.max(axis=1, keepdims=True))
        total += odds / odds.sum(axis=1, keepdims=True)
    # A probability of 0 is a loss of 745, not of infinity.
    return elementary.log(np.maximum(total / len(logits), 5e-324)).astype(np.float32)
