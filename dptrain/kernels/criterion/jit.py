"""Hinge and binary cross-entropy in Numba. Same names and arguments as reference.py, float32 scores.

Inside everything is float64; classes are added in order, exp and log are our own polynomials.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels._jit import kernel
from dptrain.kernels.elementary import exp_scalar, log_scalar
from dptrain.types import F32, F64, I64


@kernel
def _hinge(scores: F32, labels: I64, losses: F64, gradient: F32) -> None:
    n, classes = scores.shape
    for i in range(n):
        right, total, over = labels[i], 0.0, 0.0
        for k in range(classes):
            gradient[i, k] = 0
            if k != right:
                margin = 1.0 + np.float64(scores[i, k]) - np.float64(scores[i, right])
                if not margin <= 0:  # this way round NaN stays
                    total += margin
                    over += 1.0
                    gradient[i, k] = 1
        gradient[i, right] = np.float32(-over)
        losses[i] = total


@kernel
def _binary_cross_entropy(scores: F32, labels: I64, losses: F64, gradient: F32) -> None:
    n, classes = scores.shape
    for i in range(n):
        total = 0.0
        for k in range(classes):
            v = np.float64(scores[i, k])
            right = 1.0 if k == labels[i] else 0.0
            e = exp_scalar(-abs(v))
            total += (0.0 if v < 0 else v) - v * right + log_scalar(1.0 + e)
            gradient[i, k] = np.float32((e / (1.0 + e) if v < 0 else 1.0 / (1.0 + e)) - right)
        losses[i] = total


def hinge(scores: F32, labels: I64) -> tuple[F64, F32]:
    """(n, classes), (n,) -> loss of each sample (n,) float64, gradient of their SUM (n, classes) like the scores.

    Sum over the wrong classes of max(0, 1 + score - score of the right class): the multiclass SVM of Weston & Watkins.
    """
    losses, gradient = np.empty(len(labels)), np.empty(scores.shape, np.float32)
    _hinge(scores, labels, losses, gradient)
    return losses, gradient


def binary_cross_entropy(scores: F32, labels: I64) -> tuple[F64, F32]:
    """(n, classes), (n,) -> loss of each sample (n,) float64, gradient of their SUM (n, classes) like the scores.

    Each class by itself: sum over the classes of -log sigmoid(score) for the right one, -log(1 - sigmoid(score)) else.
    """
    losses, gradient = np.empty(len(labels)), np.empty(scores.shape, np.float32)
    _binary_cross_entropy(scores, labels, losses, gradient)
    return losses, gradient
