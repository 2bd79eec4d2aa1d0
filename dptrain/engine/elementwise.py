"""Lines that work pixel by pixel or add over pixels, bound to kernels/fused/rows.py and channels.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dptrain.engine.calls import Call, Context
from dptrain.engine.lines import Line
from dptrain.kernels.compiled import aligned_zeros
from dptrain.kernels.fused import channels, rows
from dptrain.nn.convolution import Convolution
from dptrain.nn.norm import BatchNorm
from dptrain.types import F32

_NOTHING: F32 = np.zeros(0, np.float32)


def pixels(b: Context, line: Line) -> Call:
    """Pixels as the network sees them: (x - mean) / std."""
    (y,) = line.writes
    h, w, c = b.values[y].shape
    x = b.shard.pixels.reshape(-1)
    means = np.broadcast_to(b.standard[0], (h, w, c)).astype(np.float32).reshape(-1)
    std, ya = np.tile(b.standard[1], w), b.array(y)
    operands = (0, h * w * c, h * w * c, w * c), (0, 0, 0, w * c), b.memory.places[y].operand
    p = np.array([h, w * c, *(number for operand in operands for number in operand)], np.int64)
    return Call(line, lambda f, n: rows.standardise(x, means, std, ya, p, f, n))


def sums(b: Context, line: Line) -> Call:
    """The sums for the mean of a BatchNorm."""
    (z,) = line.reads
    _, at, pixels = b.norm(line, z)
    x, p = b.array(z), b.whole(z)
    return Call(
        line,
        lambda first, count: rows.add_sums(x, at.chains, at.total, p, first, count),
        lambda: at.total.fill(0),
        lambda n: channels.take_mean(at.total, n * pixels, at.mean, at.mean4),
    )


def squares(b: Context, line: Line) -> Call:
    """The sums for its variance; at the end its scale and shift."""
    z = line.reads[0]
    layer, at, pixels = b.norm(line, z)
    x, p, shard = b.array(z), b.whole(z), b.shard
    gamma, place = b.gamma(layer), b.buffers[f"{layer.name}.running_mean"]

    def end(n: int) -> None:
        channels.take_scale(
            at.squares, n * pixels, at.mean, at.inverse, shard.params, gamma, at.rows, shard.statistics, place, n
        )

    return Call(
        line,
        lambda first, count: rows.add_squares(x, at.mean4, at.chains, at.squares, p, first, count),
        lambda: at.squares.fill(0),
        end,
    )


def apply(b: Context, line: Line) -> Call:
    """Scale and shift or a bias, then a second operand, then ReLU."""
    z, y = line.reads[0], line.writes[0]
    s = line.reads[1] if line.add else z
    za, sa, ya, p = b.array(z), b.array(s), b.array(y), b.rows(z, s, y)
    add, relu, layer = line.add, line.relu, line.layers[0] if line.layers else None
    if isinstance(layer, BatchNorm):
        numbers = b.norm(line, z)[1].rows
        scale, shift = numbers[channels.SCALE], numbers[channels.SHIFT]
        return Call(line, lambda f, n: rows.normalise(za, scale, shift, sa, ya, p, add, relu, f, n))
    if not isinstance(layer, Convolution):
        return Call(line, lambda f, n: rows.shifted(za, _NOTHING, sa, ya, p, add, relu, f, n))
    _, w, c = b.values[z].shape
    bias, at, shard = aligned_zeros((w * c,)), b.params[f"{layer.name}.bias"], b.shard
    return Call(
        line,
        lambda f, n: rows.shifted(za, bias, sa, ya, p, add, relu, f, n),
        lambda: channels.repeat_bias(shard.params, at, c, bias),
    )


def mask(b: Context, line: Line) -> Call:
    """One gradient or the sum of two, then through ReLU; then the two sums of a BatchNorm's gradient."""
    first, g = line.reads[0], line.writes[0]
    second, y = line.reads[1] if line.add else first, line.reads[1 + line.add] if line.relu else first
    da, db, ya, ga, add, relu = *(b.array(v) for v in (first, second, y, g)), line.add, line.relu
    if not line.layers:
        p = b.rows(first, second, y, g)
        return Call(line, lambda f, n: rows.masked(da, db, ya, ga, p, add, relu, f, n))
    z, (_, at, _) = line.reads[-1], b.norm(line, line.reads[-1])
    za, p = b.array(z), b.rows(first, second, y, g, z)

    def run(f: int, n: int) -> None:
        rows.masked_products(
            da, db, ya, ga, za, at.mean4, at.chains, at.products, at.total, at.weighted, p, add, relu, f, n
        )

    return Call(line, run, *_slope(b, line, z))


def products(b: Context, line: Line) -> Call:
    """The two sums of a BatchNorm's gradient."""
    (g, z), (_, at, _) = line.reads, b.norm(line, line.reads[1])
    ga, za, p = b.array(g), b.array(z), b.whole(g, z)

    def run(f: int, n: int) -> None:
        rows.add_products(ga, za, at.mean4, at.chains, at.products, at.total, at.weighted, p, f, n)

    return Call(line, run, *_slope(b, line, z))


def _slope(b: Context, line: Line, z: int) -> tuple[Callable[[], None], Callable[[int], None]]:
    """What comes before and behind these sums."""
    layer, at, pixels = b.norm(line, z)
    shard, gamma = b.shard, b.gamma(layer)

    def begin() -> None:
        at.total.fill(0)
        at.weighted.fill(0)

    def end(n: int) -> None:
        channels.take_slope(at.total, at.weighted, n * pixels, at.inverse, shard.gradient, gamma, at.rows)

    return begin, end


def unnorm(b: Context, line: Line) -> Call:
    """The gradient before a BatchNorm."""
    g, z, dz = line.reads[0], line.reads[1], line.writes[0]
    numbers = b.norm(line, z)[1].rows
    ga, za, da, p = b.array(g), b.array(z), b.array(dz), b.rows(g, z, dz)
    return Call(line, lambda f, n: rows.norm_gradient(ga, za, numbers, da, p, f, n))


def bias(b: Context, line: Line) -> Call:
    """The gradient of a bias."""
    (dz,), layer = line.reads, line.layers[0]
    assert isinstance(layer, Convolution)
    total, chains = np.zeros(layer.outputs), aligned_zeros((4 * layer.outputs,))
    x, p, shard, at = b.array(dz), b.whole(dz), b.shard, b.params[f"{layer.name}.bias"]
    return Call(
        line,
        lambda f, n: rows.add_sums(x, chains, total, p, f, n),
        lambda: total.fill(0),
        lambda n: channels.bias_gradient(total, shard.gradient, at),
    )
