"""The numbers of a BatchNorm or a bias, channel by channel: from sums over a shard to what the passes of rows.py read.

`rows` is (5, length): mean, scale, mean gradient, slope, shift, each repeated for the pixels of a row. The arithmetic
is that of nn/norm.py, value by value. gamma and beta lie at params[p_at:], c values each; p_at = -1: they are 1 and 0.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import kernel
from dptrain.kernels.fused.norm import EPSILON
from dptrain.types import F32, F64

MEAN, SCALE, AVERAGE, SLOPE, SHIFT = range(5)


@kernel
def _repeat(values: F32, row: F32) -> None:
    for at in range(0, len(row), len(values)):
        row[at : at + len(values)] = values


@kernel
def take_mean(total: F64, count: int, mean: F64, mean4: F32) -> None:
    """mean (c,) from the sums over `count` values per channel; mean4: four times (c,), float32."""
    c = len(total)
    for j in range(c):
        mean[j] = total[j] / count
        for chain in range(4):
            mean4[chain * c + j] = np.float32(mean[j])


@kernel
def _scale_and_shift(mean: F64, inverse: F64, params: F32, p_at: int, rows: F32) -> None:
    c = len(mean)
    values = np.empty((3, c), np.float32)
    for j in range(c):
        gamma, beta = np.float32(1), np.float32(0)
        if p_at >= 0:
            gamma, beta = params[p_at + j], params[p_at + c + j]
        scale = np.float32(gamma * inverse[j])
        values[0, j], values[1, j] = np.float32(mean[j]), scale
        values[2, j] = np.float32(beta - mean[j] * scale)
    _repeat(values[0], rows[0])
    _repeat(values[1], rows[1])
    _repeat(values[2], rows[4])


@kernel
def take_scale(
    squares: F64, count: int, mean: F64, inverse: F64, params: F32, p_at: int, rows: F32,
    statistics: F32, s_at: int, samples: int,
) -> None:  # fmt: skip
    """Scale and shift from the squared distances; mean and unbiased variance, each times `samples`, into statistics."""
    c = len(mean)
    for j in range(c):
        variance = squares[j] / count
        inverse[j] = 1.0 / np.sqrt(variance + EPSILON)
        statistics[s_at + j] = np.float32(mean[j]) * np.float32(samples)
        unbiased = np.float32(variance * (count / max(count - 1, 1)))
        statistics[s_at + c + j] = unbiased * np.float32(samples)
    _scale_and_shift(mean, inverse, params, p_at, rows)


@kernel
def take_running(buffers: F32, b_at: int, mean: F64, inverse: F64, params: F32, p_at: int, rows: F32) -> None:
    """Scale and shift from the running mean and variance at buffers[b_at:]."""
    c = len(mean)
    for j in range(c):
        mean[j] = np.float64(buffers[b_at + j])
        inverse[j] = 1.0 / np.sqrt(np.float64(buffers[b_at + c + j]) + EPSILON)
    _scale_and_shift(mean, inverse, params, p_at, rows)


@kernel
def take_slope(total: F64, weighted: F64, count: int, inverse: F64, gradient: F32, p_at: int, rows: F32) -> None:
    """Gradients of gamma and beta into gradient[p_at:]; mean gradient and slope into rows."""
    c = len(total)
    values = np.empty((2, c), np.float32)
    for j in range(c):
        scaled = weighted[j] * inverse[j]
        if p_at >= 0:
            gradient[p_at + j], gradient[p_at + c + j] = np.float32(scaled), np.float32(total[j])
        values[0, j] = np.float32(total[j] / count)
        values[1, j] = np.float32(scaled * inverse[j] / count)
    _repeat(values[0], rows[2])
    _repeat(values[1], rows[3])


@kernel
def repeat_bias(params: F32, p_at: int, channels: int, row: F32) -> None:
    """A bias (c,) at params[p_at:], for every pixel of a row."""
    _repeat(params[p_at : p_at + channels], row)


@kernel
def bias_gradient(total: F64, gradient: F32, p_at: int) -> None:
    """The sums of a gradient per channel into gradient[p_at:]."""
    for j in range(len(total)):
        gradient[p_at + j] = np.float32(total[j])
