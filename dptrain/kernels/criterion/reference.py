"""Hinge and binary cross-entropy in NumPy: the definition of correct. Any float dtype."""

from __future__ import annotations

import numpy as np

from dptrain.types import F64, I64, Floats


def hinge(scores: Floats, labels: I64) -> tuple[F64, Floats]:
    """(n, classes), (n,) -> loss of each sample (n,) float64, gradient of their SUM (n, classes) like the scores.

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
    """(n, classes), (n,) -> loss of each sample (n,) float64, gradient of their SUM (n, classes) like the scores.

    Each class by itself: sum over the classes of -log sigmoid(score) for the right one, -log(1 - sigmoid(score)) else.
    """
    wide = scores.astype(np.float64)
    right = np.zeros(scores.shape)
    right[np.arange(len(labels)), labels] = 1.0
    e = np.exp(-np.abs(wide))
    shares = np.where(wide < 0, e / (1.0 + e), 1.0 / (1.0 + e))
    losses = (np.where(wide < 0, 0.0, wide) - wide * right + np.log1p(e)).sum(1)
    return losses, (shares - right).astype(scores.dtype)
