"""The register blocks of a convolution: some neighbouring outputs times some channels, accumulated in registers.

Both take the geometry as literal integers, so loops over pixels, taps and channel blocks are unrolled and every address
inside a block is a constant. They stand at module level and close over nothing: only then does Numba's cache hit in
another process (kernels.md, section 3).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dptrain.kernels.intrinsics.vector import Lanes, const, literals, pointer


@intrinsic
def correlate_block(typingctx, x, x_at, w, w_at, y, y_at, C, R, S, XROW, XSTEP, YSTEP, LANES, PIXELS, BLOCKS):
    """y[p, :] = sum over c, r, s of x[p * XSTEP + r * XROW + s * C + c] * w[block][r][s][c][lane]; p < PIXELS.

    Order per output element: c outermost, then r, then s, one fma each, from zero. YSTEP elements between pixels of y,
    blocks side by side. All offsets in elements.
    """
    shape = literals(C, R, S, XROW, XSTEP, YSTEP, LANES, PIXELS, BLOCKS)
    if shape is None:
        return None
    c, r_taps, s_taps, xrow, xstep, ystep, lanes, pixels, blocks = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        xp = pointer(context, builder, signature.args[0], args[0], args[1])
        wp = pointer(context, builder, signature.args[2], args[2], args[3])
        yp = pointer(context, builder, signature.args[4], args[4], args[5])
        v = Lanes(builder, lanes)
        acc = [[cgutils.alloca_once(builder, v.type) for _ in range(pixels)] for _ in range(blocks)]
        for slot in [slot for row in acc for slot in row]:
            builder.store(v.zero, slot)
        with cgutils.for_range(builder, const(c)) as loop:
            xc = builder.gep(xp, [loop.index])
            wc = builder.gep(wp, [builder.mul(loop.index, const(lanes))])
            for r in range(r_taps):
                for s in range(s_taps):
                    weights = [v.load(wc, ((b * r_taps + r) * s_taps + s) * c * lanes) for b in range(blocks)]
                    for p in range(pixels):
                        value = v.broadcast(xc, p * xstep + r * xrow + s * c)
                        for b in range(blocks):
                            builder.store(v.fma(value, weights[b], builder.load(acc[b][p])), acc[b][p])
        for b in range(blocks):
            for p in range(pixels):
                v.store(builder.load(acc[b][p]), yp, p * ystep + b * lanes)
        return context.get_dummy_value()

    return types.void(x, x_at, w, w_at, y, y_at, C, R, S, XROW, XSTEP, YSTEP, LANES, PIXELS, BLOCKS), codegen


@intrinsic
def outer_block(typingctx, x, x_at, dy, dy_at, dw, dw_at, rows, C, S, XROW, XSTEP, YROW, YSTEP, WIDTH, LANES, CHANNELS):
    """dw[s][c][lane] += sum over p, q of x[p * XROW + q * XSTEP + s * C + c] * dy[p * YROW + q * YSTEP + lane].

    s < S, c < CHANNELS, p < rows, q < WIDTH. Order per element: from zero, p outermost, then q, one fma each; the sum
    is then added to dw once. XROW is the distance between the rows of x that neighbouring rows of dy see.
    """
    shape = literals(C, S, XROW, XSTEP, YROW, YSTEP, WIDTH, LANES, CHANNELS)
    if shape is None:
        return None
    c_all, s_taps, xrow, xstep, yrow, ystep, width, lanes, channels = shape

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        xp = pointer(context, builder, signature.args[0], args[0], args[1])
        yp = pointer(context, builder, signature.args[2], args[2], args[3])
        wp = pointer(context, builder, signature.args[4], args[4], args[5])
        v = Lanes(builder, lanes)
        acc = [[cgutils.alloca_once(builder, v.type) for _ in range(channels)] for _ in range(s_taps)]
        for slot in [slot for row in acc for slot in row]:
            builder.store(v.zero, slot)
        with cgutils.for_range(builder, args[6]) as rows_loop:
            x_line = builder.gep(xp, [builder.mul(rows_loop.index, const(xrow))])
            y_line = builder.gep(yp, [builder.mul(rows_loop.index, const(yrow))])
            with cgutils.for_range(builder, const(width)) as loop:
                xq = builder.gep(x_line, [builder.mul(loop.index, const(xstep))])
                gradient = v.load(builder.gep(y_line, [builder.mul(loop.index, const(ystep))]), 0)
                for s in range(s_taps):
                    for c in range(channels):
                        value = v.broadcast(xq, s * c_all + c)
                        builder.store(v.fma(value, gradient, builder.load(acc[s][c])), acc[s][c])
        for s in range(s_taps):
            for c in range(channels):
                at = (s * c_all + c) * lanes
                v.store(builder.fadd(v.load(wp, at), builder.load(acc[s][c])), wp, at)
        return context.get_dummy_value()

    signature = types.void(x, x_at, dy, dy_at, dw, dw_at, rows, C, S, XROW, XSTEP, YROW, YSTEP, WIDTH, LANES, CHANNELS)
    return signature, codegen
