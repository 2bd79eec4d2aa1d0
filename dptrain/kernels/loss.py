"""Losses and ranks, compiled for float32 scores: cross-entropy of a softmax, hinge, binary cross-entropy.

The arithmetic inside is float64. Classes are added in order; exp and log are our own polynomials (elementary.py).
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import kernel, twin
from dptrain.kernels.elementary import exp_scalar, log_scalar
from dptrain.kernels.reference import loss as reference
from dptrain.types import F32, F64, I64


@kernel
def _top(logits: F32, i: int) -> np.float32:
    """The largest of row i; NaN is the largest."""
    top = logits[i, 0]
    for k in range(1, logits.shape[1]):
        if not logits[i, k] <= top:
            top = logits[i, k]
    return top  # type: ignore[no-any-return]  # float32 in Numba


@kernel
def _softmax(logits: F32, out: F64, totals: F64) -> None:
    """out[i] = exp(logits[i] - max), totals[i] their sum."""
    n, classes = logits.shape
    for i in range(n):
        top = _top(logits, i)
        total = 0.0
        for k in range(classes):
            out[i, k] = exp_scalar(np.float64(logits[i, k]) - np.float64(top))
            total += out[i, k]
        totals[i] = total


@kernel
def _finish(logits: F32, labels: I64, e: F64, totals: F64, smoothing: float, losses: F64, gradient: F32) -> None:
    n, classes = logits.shape
    right, each = 1.0 - smoothing, smoothing / classes
    for i in range(n):
        top = np.float64(_top(logits, i))
        score = right * (np.float64(logits[i, labels[i]]) - top)
        if smoothing > 0:  # not even 0 * infinity is added without it
            total = 0.0
            for k in range(classes):
                total += np.float64(logits[i, k]) - top
            score += each * total
        losses[i] = log_scalar(totals[i]) - score
        for k in range(classes):
            share = e[i, k] / totals[i] - each
            gradient[i, k] = np.float32(share - right if k == labels[i] else share)


@kernel
def _ranks(logits: F32, labels: I64, out: I64) -> None:
    n, classes = logits.shape
    for i in range(n):
        own = logits[i, labels[i]]
        above = 0
        for k in range(classes):
            if k == labels[i]:
                above += 1 if own != own else 0
            elif not logits[i, k] <= own or (logits[i, k] == own and k < labels[i]):
                above += 1
        out[i] = above


@twin(reference.cross_entropy)
def cross_entropy(logits: F32, labels: I64, smoothing: float = 0.0) -> tuple[F64, F32]:
    """(n, classes), (n,) -> loss of each image (n,) float64, gradient of their SUM (n, classes) like the logits.

    The right class is wanted with probability 1 - smoothing, and smoothing / classes is added to every class: Szegedy
    et al. 2016 (arXiv 1512.00567), section 7.
    """
    e, totals, losses = np.empty(logits.shape), np.empty(len(labels)), np.empty(len(labels))
    gradient = np.empty(logits.shape, np.float32)
    _softmax(logits, e, totals)
    _finish(logits, labels, e, totals, smoothing, losses, gradient)
    return losses, gradient


@twin(reference.probabilities)
def probabilities(logits: F32) -> F64:
    """Softmax of each row, float64."""
    e, totals = np.empty(logits.shape), np.empty(len(logits))
    _softmax(logits, e, totals)
    return e / totals[:, None]


@twin(reference.ranks)
def ranks(logits: F32, labels: I64) -> I64:
    """The number of classes that score above the right one, (n,). Equal scores of lower classes count as above."""
    out = np.empty(len(labels), np.int64)
    _ranks(logits, labels, out)
    return out


@kernel
def _hinge(scores: F32, labels: I64, losses: F64, gradient: F32) -> None:
    n, classes = scores.shape
    for i in range(n):
        right, total, over = labels[i], 0.0, 0.0
        for k in range(classes):
            gradient[i, k] = 0
            if k != right:
                margin = 1.0 + np.float64(scores[i, k]) - np.float64(scores[i, right])
                if not margin <= 0:  # compared this way, NaN stays NaN
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


@twin(reference.hinge)
def hinge(scores: F32, labels: I64) -> tuple[F64, F32]:
    """(n, classes), (n,) -> loss of each image (n,) float64, gradient of their SUM (n, classes) like the scores.

    Sum over the wrong classes of max(0, 1 + score - score of the right class): the multiclass SVM of Weston & Watkins.
    """
    losses, gradient = np.empty(len(labels)), np.empty(scores.shape, np.float32)
    _hinge(scores, labels, losses, gradient)
    return losses, gradient


@twin(reference.binary_cross_entropy)
def binary_cross_entropy(scores: F32, labels: I64) -> tuple[F64, F32]:
    """(n, classes), (n,) -> loss of each image (n,) float64, gradient of their SUM (n, classes) like the scores.

    Sum over the classes of -log sigmoid(score) for the right class and -log(1 - sigmoid(score)) for the others.
    """
    losses, gradient = np.empty(len(labels)), np.empty(scores.shape, np.float32)
    _binary_cross_entropy(scores, labels, losses, gradient)
    return losses, gradient
