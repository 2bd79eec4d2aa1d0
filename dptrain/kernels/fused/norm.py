"""The numbers of BatchNorm, channel by channel, in float64: from sums over a shard to what the line kernels read.

`norm` is (5, c) float32, flat: scale, shift, mean, mean gradient, slope. Before the moments are known its mean is a
guess: the mean of the shard's first image. Sums of distances from a guess lose no digits if the mean is far from zero,
and one pass gives both moments.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import kernel
from dptrain.types import F32, F64

EPSILON = 1e-5  #: as in nn/norm.py


@kernel
def begin(total: F64, norm: F32) -> None:
    """Sets the sums and the guess of the mean to zero."""
    channels = len(norm) // 5
    norm[2 * channels : 3 * channels] = 0
    total[:] = 0


@kernel
def guess(total: F64, norm: F32, count: int) -> None:
    """Takes the mean of `count` values per channel (their sum is in total) as the guess; sets the sums to zero."""
    channels = len(norm) // 5
    for c in range(channels):
        norm[2 * channels + c] = np.float32(total[c] / count)
    total[:] = 0


@kernel
def _scale_and_shift(norm: F32, c: int, gamma: np.float32, beta: np.float32, mean: float, inverse: float) -> None:
    channels = len(norm) // 5
    scale = np.float32(gamma * inverse)
    norm[c], norm[channels + c] = scale, np.float32(beta - mean * scale)
    norm[2 * channels + c] = np.float32(mean)


@kernel
def finish(
    total: F64, norm: F32, inverse: F64, params: F32, p_at: int, statistics: F32, s_at: int, count: int, samples: int
) -> None:
    """Scale, shift and mean from the sums over `count` values per channel.

    gamma and beta lie at params[p_at:], c values each. Writes mean and unbiased variance, each times `samples`, to
    statistics[s_at:], as nn/norm.py does.
    """
    channels = len(norm) // 5
    for c in range(channels):
        distance = total[c] / count
        variance = max(total[channels + c] / count - distance * distance, 0.0)
        mean = norm[2 * channels + c] + distance
        inverse[c] = 1.0 / np.sqrt(variance + EPSILON)
        _scale_and_shift(norm, c, params[p_at + c], params[p_at + channels + c], mean, inverse[c])
        statistics[s_at + c] = np.float32(mean) * np.float32(samples)
        unbiased = np.float32(variance * (count / max(count - 1, 1)))
        statistics[s_at + channels + c] = unbiased * np.float32(samples)


@kernel
def running(norm: F32, params: F32, p_at: int, buffers: F32, b_at: int) -> None:
    """Scale and shift from the running mean and variance at buffers[b_at:]."""
    channels = len(norm) // 5
    for c in range(channels):
        inverse = 1.0 / np.sqrt(np.float64(buffers[b_at + channels + c]) + EPSILON)
        _scale_and_shift(norm, c, params[p_at + c], params[p_at + channels + c], np.float64(buffers[b_at + c]), inverse)


@kernel
def backward(total: F64, norm: F32, inverse: F64, gradient: F32, p_at: int, count: int) -> None:
    """Gradients of gamma and beta into gradient[p_at:]; mean gradient and slope into norm. total: sums over a shard."""
    channels = len(norm) // 5
    for c in range(channels):
        weighted = total[channels + c] * inverse[c]
        gradient[p_at + c], gradient[p_at + channels + c] = np.float32(weighted), np.float32(total[c])
        norm[3 * channels + c] = np.float32(total[c] / count)
        norm[4 * channels + c] = np.float32(weighted * inverse[c] / count)
