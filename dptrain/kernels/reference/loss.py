"""Losses and ranks: the definition. Any float dtype."""

from __future__ import annotations

import numpy as np

from dptrain.types import F64, I64, Floats


def cross_entropy(logits: Floats, labels: I64, smoothing: float = 0.0) -> tuple[F64, Floats]:
    """(n, classes), (n,) -> loss of each image (n,) float64, gradient of their SUM (n, classes) like the logits.

    The right class is wanted with probability 1 - smoothing, and smoothing / classes is added to every class: Szegedy
    et al. 2016 (arXiv 1512.00567), section 7.
    """
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    total = np.exp(shifted).sum(1)
    rows = np.arange(len(labels))
    each = smoothing / logits.shape[1]
    gradient = np.exp(shifted) / total[:, None] - each
    gradient[rows, labels] -= 1 - smoothing
    score = (1 - smoothing) * shifted[rows, labels] + (each * shifted.sum(1) if smoothing else 0.0)
    return np.log(total) - score, gradient.astype(logits.dtype)


def probabilities(logits: Floats) -> F64:
    """Softmax of each row, float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    shares: F64 = e / e.sum(1, keepdims=True)
    return shares


def ranks(logits: Floats, labels: I64) -> I64:
    """The number of classes that score above the right one, (n,). Equal scores of lower classes count as above."""
    own = np.take_along_axis(logits, labels[:, None], 1)
    lower = np.arange(logits.shape[1])[None, :] < labels[:, None]
    above = ~(logits <= own) | ((logits == own) & lower)  # NaN scores count as above: never a hit by accident
    above[np.arange(len(labels)), labels] = np.isnan(own[:, 0])
    found: I64 = above.sum(1)
    return found


def hinge(scores: Floats, labels: I64) -> tuple[F64, Floats]:
    """(n, classes), (n,) -> loss of each image (n,) float64, gradient of their SUM (n, classes) like the scores.

    Sum over the wrong classes of max(0, 1 + score - score of the right class): the multiclass SVM of Weston & Watkins.
    """
    rows = np.arange(len(labels))
    wide = scores.astype(np.float64)
    margins = 1.0 + wide - wide[rows, labels][:, None]
    margins[rows, labels] = 0.0
    over = (~(margins <= 0)).astype(np.float64)
    losses = np.where(margins <= 0, 0.0, margins).sum(1)
    over[rows, labels] = -over.sum(1)
    return losses, over.astype(scores.dtype)


def binary_cross_entropy(scores: Floats, labels: I64) -> tuple[F64, Floats]:
    """(n, classes), (n,) -> loss of each image (n,) float64, gradient of their SUM (n, classes) like the scores.

    Sum over the classes of -log sigmoid(score) for the right class and -log(1 - sigmoid(score)) for the others.
    """
    wide = scores.astype(np.float64)
    right = np.zeros(scores.shape)
    right[np.arange(len(labels)), labels] = 1.0
    e = np.exp(-np.abs(wide))
    shares = np.where(wide < 0, e / (1.0 + e), 1.0 / (1.0 + e))
    losses = (np.where(wide < 0, 0.0, wide) - wide * right + np.log1p(e)).sum(1)
    return losses, (shares - right).astype(scores.dtype)
