"""The tile transforms of Winograd's F(2x2, 3x3): 4 x 4 inputs, 2 x 2 outputs, lanes run over channels.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, section 4.1, with their B, G, A. The weight
gradient uses the transposed algorithm: G' [(A dy A') * (B' x B)] G. Every transform is plain additions in the order
written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dptrain.kernels.intrinsics.vector import Lanes, literals, pointer

Row = Sequence[ir.Value]


def _input(b: ir.IRBuilder, d: Row) -> Row:
    """B' d: four values to four."""
    return [b.fsub(d[0], d[2]), b.fadd(d[1], d[2]), b.fsub(d[2], d[1]), b.fsub(d[1], d[3])]


def _output(b: ir.IRBuilder, m: Row) -> Row:
    """A' m: four values to two."""
    return [b.fadd(b.fadd(m[0], m[1]), m[2]), b.fsub(b.fsub(m[1], m[2]), m[3])]


def _gradient(b: ir.IRBuilder, g: Row) -> Row:
    """A g: two values to four."""
    return [g[0], b.fadd(g[0], g[1]), b.fsub(g[0], g[1]), b.fneg(g[1])]


def _both_ways(b: ir.IRBuilder, transform: Callable[[ir.IRBuilder, Row], Row], tile: Sequence[Row]) -> list[Row]:
    """The transform down every column, then along every row."""
    columns = [transform(b, [row[j] for row in tile]) for j in range(len(tile[0]))]
    return [transform(b, [column[i] for column in columns]) for i in range(len(columns[0]))]


@intrinsic
def input_tile(typingctx, x, x_at, v, v_at, ROW, STEP, POSITION, LANES):
    """v[position i * 4 + j] = B' d B for the 4 x 4 pixels at x; ROW, STEP between rows and pixels, POSITION in v."""
    shape = literals(ROW, STEP, POSITION, LANES)
    if shape is None:
        return None
    row, step, position, lanes = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        source = pointer(context, builder, signature.args[0], args[0], args[1])
        target = pointer(context, builder, signature.args[2], args[2], args[3])
        vector = Lanes(builder, lanes)
        tile = [[vector.load(source, i * row + j * step) for j in range(4)] for i in range(4)]
        for i, values in enumerate(_both_ways(builder, _input, tile)):
            for j, value in enumerate(values):
                vector.store(value, target, (i * 4 + j) * position)
        return context.get_dummy_value()

    return types.void(x, x_at, v, v_at, ROW, STEP, POSITION, LANES), codegen


@intrinsic
def output_tile(typingctx, m, m_at, y, y_at, POSITION, ROW, STEP, LANES):
    """The 2 x 2 pixels at y = A' m A for the sixteen products m[position]; POSITION between them."""
    shape = literals(POSITION, ROW, STEP, LANES)
    if shape is None:
        return None
    position, row, step, lanes = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        source = pointer(context, builder, signature.args[0], args[0], args[1])
        target = pointer(context, builder, signature.args[2], args[2], args[3])
        vector = Lanes(builder, lanes)
        tile = [[vector.load(source, (i * 4 + j) * position) for j in range(4)] for i in range(4)]
        for i, values in enumerate(_both_ways(builder, _output, tile)):
            for j, value in enumerate(values):
                vector.store(value, target, i * row + j * step)
        return context.get_dummy_value()

    return types.void(m, m_at, y, y_at, POSITION, ROW, STEP, LANES), codegen


@intrinsic
def gradient_tile(typingctx, dy, dy_at, d, d_at, ROW, STEP, POSITION, LANES):
    """d[position i * 4 + j] = A g A' for the 2 x 2 pixels at dy; ROW, STEP between rows and pixels."""
    shape = literals(ROW, STEP, POSITION, LANES)
    if shape is None:
        return None
    row, step, position, lanes = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        source = pointer(context, builder, signature.args[0], args[0], args[1])
        target = pointer(context, builder, signature.args[2], args[2], args[3])
        vector = Lanes(builder, lanes)
        tile = [[vector.load(source, i * row + j * step) for j in range(2)] for i in range(2)]
        for i, values in enumerate(_both_ways(builder, _gradient, tile)):
            for j, value in enumerate(values):
                vector.store(value, target, (i * 4 + j) * position)
        return context.get_dummy_value()

    return types.void(dy, dy_at, d, d_at, ROW, STEP, POSITION, LANES), codegen
