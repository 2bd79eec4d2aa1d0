"""Winograd's F(2x2, 3x3) in blocks of TILES tiles: 4 x 4 inputs and 2 x 2 outputs per tile; lanes run over channels.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, section 4.1, with their B, G and A. The
weight gradient uses the transposed algorithm: G' [(A dy A') * (B' x B)] G. Every transform is plain additions in the
order written. Transformed tiles lie in memory as (position, tile, channel) with SPREAD extra elements between
positions. Without them the sixteen positions of a tile shared one set of the nearest cache (28 to 47 us, docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dptrain.kernels.codegen import registers
from dptrain.kernels.codegen.correlate import Correlation, Outer
from dptrain.kernels.codegen.vector import Lanes, at, const, literals, pointer

Row = Sequence[ir.Value]
Transform = Callable[[ir.IRBuilder, Row], Row]


def _input(b: ir.IRBuilder, d: Row) -> Row:
    """B' d: four values to four."""
    return [b.fsub(d[0], d[2]), b.fadd(d[1], d[2]), b.fsub(d[2], d[1]), b.fsub(d[1], d[3])]


def _output(b: ir.IRBuilder, m: Row) -> Row:
    """A' m: four values to two."""
    return [b.fadd(b.fadd(m[0], m[1]), m[2]), b.fsub(b.fsub(m[1], m[2]), m[3])]


def _gradient(b: ir.IRBuilder, g: Row) -> Row:
    """A g: two values to four."""
    return [g[0], b.fadd(g[0], g[1]), b.fsub(g[0], g[1]), b.fneg(g[1])]


def _both_ways(b: ir.IRBuilder, transform: Transform, tile: Sequence[Row]) -> list[Row]:
    """The transform down every column, then along every row."""
    columns = [transform(b, [row[j] for row in tile]) for j in range(len(tile[0]))]
    return [transform(b, [column[i] for column in columns]) for i in range(len(columns[0]))]


class _Grid:
    """Where the values of a tile lie in memory: rows and columns of vectors, channels in the last axis."""

    def __init__(self, size: int, row: int, step: int) -> None:
        self.places = [i * row + j * step for i in range(size) for j in range(size)]
        self.size = size


def _emit(builder: ir.IRBuilder, transform: Transform, channels: int, source: Any, target: Any) -> None:
    """All channels of a tile through a transform; source, target: (address, grid)."""
    vector = Lanes(builder, registers.lanes(channels))
    (x, x_grid), (y, y_grid) = source, target
    with cgutils.for_range(builder, const(channels // vector.lanes)) as loop:
        xc, yc = at(builder, x, (loop.index, vector.lanes)), at(builder, y, (loop.index, vector.lanes))
        values = [vector.load(xc, place) for place in x_grid.places]
        size = x_grid.size
        rows = _both_ways(builder, transform, [values[i * size : (i + 1) * size] for i in range(size)])
        for place, value in zip(y_grid.places, [value for row in rows for value in row], strict=True):
            vector.store(value, yc, place)


def _position(channels: int) -> int:
    return registers.TILES * channels + registers.SPREAD


def _spread(channels: int) -> _Grid:
    return _Grid(4, 4 * _position(channels), _position(channels))


@intrinsic
def input_tile(typingctx, x, x_at, v, tile, C, ROW):
    """v = B' d B for the 4 x 4 pixels of C channels at x; ROW elements between rows."""
    shape = literals(C, ROW)
    if shape is None:
        return None
    c, row = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        source = pointer(context, builder, signature.args[0], args[0], args[1])
        target = pointer(context, builder, signature.args[2], args[2], builder.mul(args[3], const(c)))
        _emit(builder, _input, c, (source, _Grid(4, row, c)), (target, _spread(c)))
        return context.get_dummy_value()

    return types.void(x, x_at, v, tile, C, ROW), codegen


@intrinsic
def gradient_tile(typingctx, dy, dy_at, d, tile, K, ROW):
    """d = A g A' for the 2 x 2 pixels of K channels at dy; ROW elements between rows."""
    shape = literals(K, ROW)
    if shape is None:
        return None
    k, row = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        source = pointer(context, builder, signature.args[0], args[0], args[1])
        target = pointer(context, builder, signature.args[2], args[2], builder.mul(args[3], const(k)))
        _emit(builder, _gradient, k, (source, _Grid(2, row, k)), (target, _spread(k)))
        return context.get_dummy_value()

    return types.void(dy, dy_at, d, tile, K, ROW), codegen


@intrinsic
def output_tile(typingctx, m, tile, y, y_at, K, ROW):
    """The 2 x 2 pixels of K channels at y = A' m A; ROW elements between rows."""
    shape = literals(K, ROW)
    if shape is None:
        return None
    k, row = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        source = pointer(context, builder, signature.args[0], args[0], builder.mul(args[1], const(k)))
        target = pointer(context, builder, signature.args[2], args[2], args[3])
        _emit(builder, _output, k, (source, _spread(k)), (target, _Grid(2, row, k)))
        return context.get_dummy_value()

    return types.void(m, tile, y, y_at, K, ROW), codegen


@intrinsic
def tile_products(typingctx, v, u, m, C, K):
    """m[position, tile, k] = sum over c of v[position, tile, c] * u[position, k / lanes, c, k % lanes], in order."""
    shape = literals(C, K)
    if shape is None:
        return None
    c, k = shape
    lanes = registers.lanes(k)
    blocks, tiles = registers.winograd_blocks(k)
    product = Correlation(c, 1, 1, 0, c, k, lanes, tiles, blocks)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        vp, up, mp = (pointer(context, builder, signature.args[i], args[i], const(0)) for i in range(3))
        with (
            cgutils.for_range(builder, const(16)) as position,
            cgutils.for_range(builder, const(k // lanes // blocks)) as group,
        ):
            weights = at(builder, up, (position.index, c * k), (group.index, blocks * c * lanes))
            with cgutils.for_range(builder, const(registers.TILES // tiles)) as part:
                x = at(builder, vp, (position.index, _position(c)), (part.index, tiles * c))
                y = at(
                    builder,
                    mp,
                    (position.index, _position(k)),
                    (part.index, tiles * k),
                    (group.index, blocks * lanes),
                )
                product.emit(builder, x, weights, y)
        return context.get_dummy_value()

    return types.void(v, u, m, C, K), codegen


@intrinsic
def tile_sums(typingctx, v, d, sums, C, K):
    """sums[position, k / lanes, c, k % lanes] += sum over the tiles of v[position, tile, c] * d[position, tile, k]."""
    shape = literals(C, K)
    if shape is None:
        return None
    c, k = shape
    lanes = registers.lanes(k)
    blocks, channels = registers.winograd_sums(c, k)
    product = Outer(c, 1, 0, c, 0, k, registers.TILES, c * lanes, lanes, channels, blocks)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        vp, dp, sp = (pointer(context, builder, signature.args[i], args[i], const(0)) for i in range(3))
        with (
            cgutils.for_range(builder, const(16)) as position,
            cgutils.for_range(builder, const(k // lanes // blocks)) as group,
        ):
            dy = at(builder, dp, (position.index, _position(k)), (group.index, blocks * lanes))
            with cgutils.for_range(builder, const(c // channels)) as part:
                x = at(builder, vp, (position.index, _position(c)), (part.index, channels))
                dw = at(
                    builder,
                    sp,
                    (position.index, c * k),
                    (group.index, blocks * c * lanes),
                    (part.index, channels * lanes),
                )
                product.emit(builder, x, dy, dw, None)
        return context.get_dummy_value()

    return types.void(v, d, sums, C, K), codegen
