"""The register blocks of a convolution: some neighbouring outputs times some channels, accumulated in registers.

Shapes and strides are literal integers, so loops over pixels, taps and channel blocks are unrolled and every address
inside a block is a constant. The intrinsics are at module level and close over nothing: only then does Numba's cache
work in another process.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dptrain.kernels.codegen import registers
from dptrain.kernels.codegen.vector import Lanes, at, const, literals, pointer


class Correlation(NamedTuple):
    """y[p, b, lane] = sum over i, r, s of x[p * xstep + r * xrow + s * c + i] * w[b][r][s][i][lane]; p < pixels."""

    c: int
    r: int
    s: int
    xrow: int
    xstep: int
    ystep: int  #: elements between pixels of y; blocks lie side by side
    lanes: int
    pixels: int
    blocks: int

    def emit(self, builder: ir.IRBuilder, x: ir.Value, w: ir.Value, y: ir.Value) -> None:
        """Order per output element: channel outermost, then r, then s, one fma each, from zero."""
        v = Lanes(builder, self.lanes)
        places = [(b, p) for b in range(self.blocks) for p in range(self.pixels)]
        acc = v.accumulators(len(places))
        with cgutils.for_range(builder, const(self.c)) as loop:
            xc = builder.gep(x, [loop.index])
            wc = builder.gep(w, [builder.mul(loop.index, const(self.lanes))])
            for tap in range(self.r * self.s):
                r, s = divmod(tap, self.s)
                weights = [v.load(wc, (b * self.r * self.s + tap) * self.c * self.lanes) for b in range(self.blocks)]
                for p in range(self.pixels):
                    value = v.broadcast(xc, p * self.xstep + r * self.xrow + s * self.c)
                    for b in range(self.blocks):
                        v.accumulate(acc[b * self.pixels + p], value, weights[b])
        for slot, (b, p) in zip(acc, places, strict=True):
            v.store(builder.load(slot), y, p * self.ystep + b * self.lanes)


class Outer(NamedTuple):
    """dw[b][s][i][lane] += sum over p, q of x[p * xrow + q * xstep + s * c + i] * dy[p * yrow + q * ystep + lane].

    b < blocks (of lanes, side by side in dy), s < taps, i < channels, p < rows, q < width. xrow is the distance between
    the rows of x to which neighbouring rows of dy belong.
    """

    c: int
    taps: int
    xrow: int
    xstep: int
    yrow: int
    ystep: int
    width: int
    wstep: int  #: elements of dw between blocks
    lanes: int
    channels: int
    blocks: int

    def emit(self, builder: ir.IRBuilder, x: ir.Value, dy: ir.Value, dw: ir.Value, rows: ir.Value | None) -> None:
        """Order per element: from zero, p outermost, then q, one fma each; the sum is then added to dw once."""
        v = Lanes(builder, self.lanes)
        places = [(b, s, c) for s in range(self.taps) for c in range(self.channels) for b in range(self.blocks)]
        acc = dict(zip(places, v.accumulators(len(places)), strict=True))

        def row(x_line: ir.Value, y_line: ir.Value) -> None:
            with cgutils.for_range(builder, const(self.width)) as loop:
                xq = builder.gep(x_line, [builder.mul(loop.index, const(self.xstep))])
                yq = builder.gep(y_line, [builder.mul(loop.index, const(self.ystep))])
                gradients = [v.load(yq, b * self.lanes) for b in range(self.blocks)]
                for s in range(self.taps):
                    for c in range(self.channels):
                        value = v.broadcast(xq, s * self.c + c)
                        for b in range(self.blocks):
                            v.accumulate(acc[b, s, c], value, gradients[b])

        if rows is None:
            row(x, dy)
        else:
            with cgutils.for_range(builder, rows) as loop:
                row(
                    builder.gep(x, [builder.mul(loop.index, const(self.xrow))]),
                    builder.gep(dy, [builder.mul(loop.index, const(self.yrow))]),
                )
        for (b, s, c), slot in acc.items():
            at = b * self.wstep + (s * self.c + c) * self.lanes
            v.store(builder.fadd(v.load(dw, at), builder.load(slot)), dw, at)


@intrinsic
def correlate_rows(typingctx, x, x_at, x_row, w, w_at, y, y_at, y_row, rows, C, K, R, S, XROW, XSTEP, YSTEP, WIDTH):
    """y[p, q, k] = sum over c, r, s of x[p * x_row + q * XSTEP + r * XROW + s * C + c] * w[k / lanes][r][s][c][lane].

    p < rows, q < WIDTH; y_row, YSTEP elements between rows and pixels of y; k runs to K rounded up to whole vectors.
    """
    shape = literals(C, K, R, S, XROW, XSTEP, YSTEP, WIDTH)
    if shape is None:
        return None
    c, k, r, s, xrow, xstep, ystep, width = shape
    lanes = registers.lanes(k)
    blocks, split = registers.correlate_blocks(k, width)
    group = blocks * lanes

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        xp = pointer(context, builder, signature.args[0], args[0], args[1])
        wp = pointer(context, builder, signature.args[3], args[3], args[4])
        yp = pointer(context, builder, signature.args[5], args[5], args[6])
        with cgutils.for_range(builder, const(registers.padded(k) // group)) as outer:
            weights = at(builder, wp, (outer.index, group * r * s * c))
            with cgutils.for_range(builder, args[8]) as row:
                x_line = builder.gep(xp, [builder.mul(row.index, args[2])])
                y_line = builder.gep(at(builder, yp, (outer.index, group)), [builder.mul(row.index, args[7])])
                for start, count, pixels in split.parts():
                    x_part, y_part = (
                        builder.gep(x_line, [const(start * xstep)]),
                        builder.gep(y_line, [const(start * ystep)]),
                    )
                    block = Correlation(c, r, s, xrow, xstep, ystep, lanes, pixels, blocks)
                    with cgutils.for_range(builder, const(count)) as part:
                        x_at = at(builder, x_part, (part.index, pixels * xstep))
                        block.emit(builder, x_at, weights, at(builder, y_part, (part.index, pixels * ystep)))
        return context.get_dummy_value()

    signature = types.void(x, x_at, x_row, w, w_at, y, y_at, y_row, rows, C, K, R, S, XROW, XSTEP, YSTEP, WIDTH)
    return signature, codegen


@intrinsic
def outer_rows(typingctx, x, x_at, dy, y_at, dw, rows, C, K, R, S, XROW, STRIDE, YROW, YSTEP, WIDTH):
    """dw[k / lanes][r][s][c][lane] += sum over p, q of x[p * STRIDE + r, q * STRIDE + s, c] * dy[p, q, k].

    p < rows, q < WIDTH. XROW elements between rows of x; YROW, YSTEP between rows and pixels of dy; k runs to K rounded
    up to whole vectors.
    """
    shape = literals(C, K, R, S, XROW, STRIDE, YROW, YSTEP, WIDTH)
    if shape is None:
        return None
    c, k, r_taps, s_taps, xrow, stride, yrow, ystep, width = shape
    lanes = registers.lanes(k)
    blocks, split = registers.outer_blocks(s_taps, c, k)
    taps = r_taps * s_taps * c * lanes

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        xp = pointer(context, builder, signature.args[0], args[0], args[1])
        yp = pointer(context, builder, signature.args[2], args[2], args[3])
        wp = pointer(context, builder, signature.args[4], args[4], const(0))
        with cgutils.for_range(builder, const(registers.padded(k) // lanes // blocks)) as group:
            y_group = at(builder, yp, (group.index, blocks * lanes))
            w_group = at(builder, wp, (group.index, blocks * taps))
            with cgutils.for_range(builder, const(r_taps)) as r:
                x_r, w_r = at(builder, xp, (r.index, xrow)), at(builder, w_group, (r.index, s_taps * c * lanes))
                for start, count, channels in split.parts():
                    x_part, w_part = builder.gep(x_r, [const(start)]), builder.gep(w_r, [const(start * lanes)])
                    block = Outer(
                        c, s_taps, stride * xrow, stride * c, yrow, ystep, width, taps, lanes, channels, blocks
                    )
                    with cgutils.for_range(builder, const(count)) as part:
                        x_at = at(builder, x_part, (part.index, channels))
                        block.emit(builder, x_at, y_group, at(builder, w_part, (part.index, channels * lanes)), args[5])
        return context.get_dummy_value()

    signature = types.void(x, x_at, dy, y_at, dw, rows, C, K, R, S, XROW, STRIDE, YROW, YSTEP, WIDTH)
    return signature, codegen
