"""The elementwise work between two convolutions, one line of channels at a time: one pass, every value in a register.

A line is LANES neighbouring channels of every pixel of an image of `rows` x WIDTH pixels. Images lie in memory as (row,
pixel, C). The last literals are the elements between rows, for each operand in turn. `norm` holds five rows of C
numbers: scale, shift, mean, mean gradient, slope (kernels/fused/norm.py). LLVM splits vectors that are wider than the
CPU's.

Activations are float32. Sums run in two chains, one over the even columns and one over the odd columns of all rows. The
chains are joined as even + odd and added to a float64 total.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dptrain.kernels.codegen.vector import Lanes, at, const, literals, pointer

NONE, ADD, AVERAGE = 0, 1, 2  #: what a shortcut adds: nothing, a pixel, the mean of 2 x 2 pixels

_F64 = ir.DoubleType()


def _each_pixel(builder: ir.IRBuilder, rows: ir.Value, width: int, body: Callable[[Any, Any, int], None]) -> None:
    """Emits body(row, column, column mod 2) for every pixel, row by row; two columns per iteration."""
    with cgutils.for_range(builder, rows) as row:
        if width // 2:
            with cgutils.for_range(builder, const(width // 2)) as pair:
                for parity in (0, 1):
                    column = builder.add(builder.mul(pair.index, const(2)), const(parity))
                    body(row.index, column, parity)
        if width % 2:
            body(row.index, const(width - 1), 0)


class _Emitter:
    """The addresses of one intrinsic's operands, and operations on lines of channels."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Any, lanes: int) -> None:
        self.builder, self.vector = builder, Lanes(builder, lanes)
        self._context, self._types, self._args = context, signature.args, args

    def operand(self, index: int) -> ir.Value:
        """Address of the array at argument `index`, offset at the next one."""
        return pointer(self._context, self.builder, self._types[index], self._args[index], self._args[index + 1])

    def load(
        self, base: ir.Value, row: ir.Value, row_step: int, column: ir.Value, step: int, more: int = 0
    ) -> ir.Value:
        """Reads the line of a pixel."""
        return self.vector.load(at(self.builder, base, (row, row_step), (column, step)), more)

    def store(self, value: ir.Value, base: ir.Value, row: ir.Value, row_step: int, column: ir.Value, step: int) -> None:
        """Writes the line of a pixel."""
        self.vector.store(value, at(self.builder, base, (row, row_step), (column, step)), 0)

    def add_total(self, chains: list[ir.Value], total: ir.Value) -> None:
        """total (float64) += even + odd."""
        b, wide = self.builder, ir.VectorType(_F64, self.vector.lanes)
        joined = b.fpext(b.fadd(b.load(chains[0]), b.load(chains[1])), wide)
        place = b.bitcast(total, wide.as_pointer())
        old = b.load(place)
        old.align = 8
        b.store(b.fadd(old, joined), place).align = 8

    def positive(self, value: ir.Value, condition: ir.Value) -> ir.Value:
        """value where condition is above 0 or NaN, else 0. NaN stays visible, so that divergence is noticed."""
        b = self.builder
        return b.select(b.fcmp_ordered("<=", condition, self.vector.zero), self.vector.zero, value)


@intrinsic
def apply_line(typingctx, z, z_at, norm, n_at, s, s_at, a, a_at, rows, C, LANES, MODE, WIDTH, ZROW, SROW, SSTEP, AROW):
    """a = max(z * scale + shift (one fma) + shortcut, 0). SSTEP: elements between pixels of s; AVERAGE reads 2 x 2."""
    shape = literals(C, LANES, MODE, WIDTH, ZROW, SROW, SSTEP, AROW)
    if shape is None:
        return None
    c, lanes, mode, width, zrow, srow, sstep, arow = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        e = _Emitter(context, builder, signature, args, lanes)
        zp, np, sp, ap = (e.operand(i) for i in (0, 2, 4, 6))
        scale, shift = e.vector.load(np, 0), e.vector.load(np, c)
        quarter = ir.Constant(e.vector.type, [0.25] * lanes)

        def pixel(row: Any, column: Any, parity: int) -> None:
            y = e.vector.fma(e.load(zp, row, zrow, column, c), scale, shift)
            if mode == ADD:
                y = builder.fadd(y, e.load(sp, row, srow, column, sstep))
            if mode == AVERAGE:
                v = [
                    e.load(sp, row, srow, column, sstep, i * (srow // 2) + j * (sstep // 2))
                    for i in (0, 1)
                    for j in (0, 1)
                ]
                y = builder.fadd(
                    y, builder.fmul(builder.fadd(builder.fadd(v[0], v[1]), builder.fadd(v[2], v[3])), quarter)
                )
            e.store(e.positive(y, y), ap, row, arow, column, c)

        _each_pixel(builder, args[8], width, pixel)
        return context.get_dummy_value()

    signature = types.void(z, z_at, norm, n_at, s, s_at, a, a_at, rows, C, LANES, MODE, WIDTH, ZROW, SROW, SSTEP, AROW)
    return signature, codegen


@intrinsic
def moments_line(typingctx, z, z_at, norm, n_at, total, t_at, rows, C, LANES, WIDTH, ZROW):
    """total[0], total[1] += sum of d, of d * d (one fma); d = z - norm's mean, now a guess of it."""
    shape = literals(C, LANES, WIDTH, ZROW)
    if shape is None:
        return None
    c, lanes, width, zrow = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        e = _Emitter(context, builder, signature, args, lanes)
        zp, np, tp = (e.operand(i) for i in (0, 2, 4))
        guess = e.vector.load(np, 2 * c)
        sums, squares = e.vector.accumulators(2), e.vector.accumulators(2)

        def pixel(row: Any, column: Any, parity: int) -> None:
            d = builder.fsub(e.load(zp, row, zrow, column, c), guess)
            builder.store(builder.fadd(builder.load(sums[parity]), d), sums[parity])
            e.vector.accumulate(squares[parity], d, d)

        _each_pixel(builder, args[6], width, pixel)
        e.add_total(sums, tp)
        e.add_total(squares, builder.gep(tp, [const(c)]))
        return context.get_dummy_value()

    return types.void(z, z_at, norm, n_at, total, t_at, rows, C, LANES, WIDTH, ZROW), codegen


@intrinsic
def gradient_line(typingctx, g, g_at, z, z_at, norm, n_at, dz, d_at, rows, C, LANES, WIDTH, ZROW, DROW):
    """dz = scale * ((g - mean gradient) - (z - mean) * slope (one fma)); g lies as z does."""
    shape = literals(C, LANES, WIDTH, ZROW, DROW)
    if shape is None:
        return None
    c, lanes, width, zrow, drow = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        e = _Emitter(context, builder, signature, args, lanes)
        gp, zp, np, dp = (e.operand(i) for i in (0, 2, 4, 6))
        scale, mean, average, slope = (e.vector.load(np, row * c) for row in (0, 2, 3, 4))
        falling = builder.fneg(slope)

        def pixel(row: Any, column: Any, parity: int) -> None:
            centred = builder.fsub(e.load(zp, row, zrow, column, c), mean)
            centred_g = builder.fsub(e.load(gp, row, zrow, column, c), average)
            e.store(builder.fmul(scale, e.vector.fma(centred, falling, centred_g)), dp, row, drow, column, c)

        _each_pixel(builder, args[8], width, pixel)
        return context.get_dummy_value()

    return types.void(g, g_at, z, z_at, norm, n_at, dz, d_at, rows, C, LANES, WIDTH, ZROW, DROW), codegen


@intrinsic
def mask_line(
    typingctx, da, da_at, a, a_at, z, z_at, norm, n_at, g, g_at, total, t_at, rows, C, LANES, MODE, WIDTH, ZROW, AROW
):
    """g = (da [+ g, if MODE is ADD]) where a > 0, else 0; total[0], total[1] += sum of g, of g * (z - mean), one fma.

    da and g lie as z does.
    """
    shape = literals(C, LANES, MODE, WIDTH, ZROW, AROW)
    if shape is None:
        return None
    c, lanes, mode, width, zrow, arow = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        e = _Emitter(context, builder, signature, args, lanes)
        dp, ap, zp, np, gp, tp = (e.operand(i) for i in (0, 2, 4, 6, 8, 10))
        mean = e.vector.load(np, 2 * c)
        sums, products = e.vector.accumulators(2), e.vector.accumulators(2)

        def pixel(row: Any, column: Any, parity: int) -> None:
            y = e.load(dp, row, zrow, column, c)
            if mode == ADD:
                y = builder.fadd(y, e.load(gp, row, zrow, column, c))
            y = e.positive(y, e.load(ap, row, arow, column, c))
            e.store(y, gp, row, zrow, column, c)
            builder.store(builder.fadd(builder.load(sums[parity]), y), sums[parity])
            e.vector.accumulate(products[parity], y, builder.fsub(e.load(zp, row, zrow, column, c), mean))

        _each_pixel(builder, args[12], width, pixel)
        e.add_total(sums, tp)
        e.add_total(products, builder.gep(tp, [const(c)]))
        return context.get_dummy_value()

    signature = types.void(
        da, da_at, a, a_at, z, z_at, norm, n_at, g, g_at, total, t_at, rows, C, LANES, MODE, WIDTH, ZROW, AROW
    )
    return signature, codegen


@intrinsic
def spread_line(typingctx, g, g_at, da, da_at, rows, LANES, MODE, WIDTH, GROW, DROW, C):
    """The gradient through a halving shortcut: da[2 p, 2 q] += g[p, q]; g has rows x WIDTH pixels of 2 C channels.

    AVERAGE: a quarter of g[p, q] is added to each of the 2 x 2 pixels.
    """
    shape = literals(LANES, MODE, WIDTH, GROW, DROW, C)
    if shape is None:
        return None
    lanes, mode, width, grow, drow, dstep = shape
    gstep = 2 * dstep

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        e = _Emitter(context, builder, signature, args, lanes)
        gp, dp = e.operand(0), e.operand(2)
        quarter = ir.Constant(e.vector.type, [0.25] * lanes)

        def pixel(row: Any, column: Any, parity: int) -> None:
            y = e.load(gp, row, grow, column, gstep)
            if mode == AVERAGE:
                y = builder.fmul(y, quarter)
            base = at(builder, dp, (row, 2 * drow), (column, 2 * dstep))
            for place in (0, dstep, drow, drow + dstep) if mode == AVERAGE else (0,):
                e.vector.store(builder.fadd(e.vector.load(base, place), y), base, place)

        _each_pixel(builder, args[4], width, pixel)
        return context.get_dummy_value()

    return types.void(g, g_at, da, da_at, rows, LANES, MODE, WIDTH, GROW, DROW, C), codegen


@intrinsic
def mean_line(typingctx, a, a_at, out, o_at, rows, C, LANES, PIXELS, WIDTH, AROW):
    """out = (sum of a over the pixels of an image) / PIXELS."""
    shape = literals(C, LANES, PIXELS, WIDTH, AROW)
    if shape is None:
        return None
    c, lanes, pixels, width, arow = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        e = _Emitter(context, builder, signature, args, lanes)
        ap, op = e.operand(0), e.operand(2)
        sums = e.vector.accumulators(2)

        def pixel(row: Any, column: Any, parity: int) -> None:
            builder.store(builder.fadd(builder.load(sums[parity]), e.load(ap, row, arow, column, c)), sums[parity])

        _each_pixel(builder, args[4], width, pixel)
        total = builder.fadd(builder.load(sums[0]), builder.load(sums[1]))
        e.vector.store(builder.fdiv(total, ir.Constant(e.vector.type, [float(pixels)] * lanes)), op, 0)
        return context.get_dummy_value()

    return types.void(a, a_at, out, o_at, rows, C, LANES, PIXELS, WIDTH, AROW), codegen


@intrinsic
def fill_line(typingctx, dy, y_at, da, da_at, rows, C, LANES, PIXELS, WIDTH, ZROW):
    """The gradient through `mean_line`: da = dy / PIXELS at every pixel."""
    shape = literals(C, LANES, PIXELS, WIDTH, ZROW)
    if shape is None:
        return None
    c, lanes, pixels, width, zrow = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        e = _Emitter(context, builder, signature, args, lanes)
        yp, dp = e.operand(0), e.operand(2)
        share = builder.fdiv(e.vector.load(yp, 0), ir.Constant(e.vector.type, [float(pixels)] * lanes))
        _each_pixel(builder, args[4], width, lambda row, column, _: e.store(share, dp, row, zrow, column, c))
        return context.get_dummy_value()

    return types.void(dy, y_at, da, da_at, rows, C, LANES, PIXELS, WIDTH, ZROW), codegen
