"""Convolution on matrix tiles, strip by strip: products, then rounding, BatchNorm's sums, and the way into the map.

bf16 maps lie as everywhere, (row, pixel, channel) in a frame of zeros, in 16-bit integers. A tile's rows are
neighbouring pixels and its row stride is a pixel's, so nothing is copied for the 3 x 3 neighbourhood: the three taps of
a row are 3 c neighbouring elements, read 32 at a time; weights are zero where the last 32 reach further. AMX is 1 for
the instructions, 0 for their emulation (intrinsics/tile.py): the same additions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dptrain.kernels.intrinsics.lines import each_pixel
from dptrain.kernels.intrinsics.strips import DEPTH, MOST, SIDE, Strip, blocks, strip
from dptrain.kernels.intrinsics.tile import tiles
from dptrain.kernels.intrinsics.vector import Lanes, at, const, literals, pointer

ELEMENTS = SIDE * SIDE  #: float32 in a tile
WEIGHTS = SIDE * DEPTH  #: bf16 in a tile
_PIXELS, _TAPS = (MOST, MOST + 1), MOST + 2  #: tiles that take pixels in turns, and weights: all eight are in use


class Products(NamedTuple):
    """m[tile][pixel][k] = sum over r, e of x[tile's place + pixel * step + r * row + e] * w[r][e][k]; k < 16.

    r < taps, e < span in thirty-twos, each one TDPBF16PS, from zero: that is the order.
    w: (r, e / 32, e / 2 % 16, k, e % 2).
    """

    taps: int
    span: int
    row: int  #: elements of x between taps
    step: int  #: between pixels
    down: int  #: between rows of outputs

    @property
    def weights(self) -> int:
        """Elements of w for 16 outputs."""
        return self.taps * blocks(self.span, DEPTH) * WEIGHTS

    def emit(self, builder: ir.IRBuilder, amx: int, cut: Strip, operands: tuple[ir.Value, ...]) -> None:
        """One strip."""
        x, w, m = operands
        t, chunks = tiles(builder, amx), blocks(self.span, DEPTH)
        places = [i // cut.columns * self.down + i % cut.columns * SIDE * self.step for i in range(cut.tiles)]
        for first in range(0, cut.tiles, MOST):
            group = places[first : first + MOST]
            for tile in range(len(group)):
                t.zero(tile)
            for r in range(self.taps):
                x_row, w_row = builder.gep(x, [const(r * self.row)]), builder.gep(w, [const(r * chunks * WEIGHTS)])
                with cgutils.for_range(builder, const(chunks)) as chunk:
                    t.load(_TAPS, at(builder, w_row, (chunk.index, WEIGHTS)), 64)
                    base = at(builder, x_row, (chunk.index, DEPTH))
                    for tile, place in enumerate(group):
                        pixels = _PIXELS[tile % 2]
                        t.load(pixels, builder.gep(base, [const(place)]), 2 * self.step)
                        t.dot(tile, pixels, _TAPS)
            for tile in range(len(group)):
                t.store(tile, builder.gep(m, [const((first + tile) * ELEMENTS)]), 64)


class Settling(NamedTuple):
    """y = m, what the tiles made of some rows, rounded where y is bf16.

    With moments: sums += even and odd chain of d, then of d * d (one fma), `lanes` each, exactly as `moments_line` adds
    them up; d = y as stored - norm's mean, which is a guess of it.
    """

    channels: int
    width: int
    row: int  #: elements of y between rows
    step: int  #: between pixels
    moments: int

    def emit(
        self, builder: ir.IRBuilder, lanes: int, pitch: int, rows: ir.Value, operands: tuple[ir.Value, ...]
    ) -> None:
        """Of `lanes` channels; pitch: pixels of m between rows."""
        m, y, norm, sums = operands
        v = Lanes(builder, lanes)
        chains = v.accumulators(4 if self.moments else 0)
        for i, chain in enumerate(chains):
            builder.store(v.load(sums, i * lanes), chain)
        guess = v.load(norm, 2 * self.channels) if self.moments else None

        def pixel(row: Any, column: Any, parity: int) -> None:
            value = v.load(at(builder, m, (row, pitch * SIDE), (column, SIDE)), 0)
            value = v.store(value, at(builder, y, (row, self.row), (column, self.step)), 0)
            if self.moments:
                d = builder.fsub(value, guess)
                builder.store(builder.fadd(builder.load(chains[parity]), d), chains[parity])
                v.accumulate(chains[2 + parity], d, d)

        each_pixel(builder, rows, self.width, pixel)
        for i, chain in enumerate(chains):
            v.store(builder.load(chain), sums, i * lanes)


@intrinsic
def convolve_tiles(
    typingctx, x, x_at, w, w_at, m, y, y_at, norm, sums, AMX, K, TAPS, SPAN, XROW, XSTEP, XDOWN, HEIGHT, WIDTH,
    YROW, YSTEP, MOMENTS,
):  # fmt: skip
    """HEIGHT rows of WIDTH outputs of K channels: `Products`, then `Settling`. m: scratch, a strip of tiles.

    XDOWN, XSTEP: elements of x from one output to the one below, to the next one; YROW, YSTEP: of y. sums: 64 floats
    for every 16 channels.
    """
    shape = literals(AMX, K, TAPS, SPAN, XROW, XSTEP, XDOWN, HEIGHT, WIDTH, YROW, YSTEP, MOMENTS)
    if shape is None:
        return None
    amx, k, taps, span, xrow, xstep, xdown, height, width, yrow, ystep, moments = shape
    products = Products(taps, span, xrow, xstep, xdown)
    settling = Settling(k, width, yrow, ystep, moments)
    cut = strip(width, height, xdown // xstep)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        def operand(index: int, place: Any) -> ir.Value:
            return pointer(context, builder, signature.args[index], args[index], place)

        xp, wp, mp = operand(0, args[1]), operand(2, args[3]), operand(4, const(0))
        yp, np, sp = operand(5, args[6]), operand(7, const(0)), operand(8, const(0))

        def block(number: ir.Value, lanes: int) -> None:
            weights = at(builder, wp, (number, products.weights))
            y_block, n_block, s_block = (
                at(builder, base, (number, size)) for base, size in ((yp, SIDE), (np, SIDE), (sp, 4 * SIDE))
            )
            with cgutils.for_range(builder, const(blocks(height, cut.rows))) as part:
                first = builder.mul(part.index, const(cut.rows))
                products.emit(builder, amx, cut, (at(builder, xp, (first, xdown)), weights, mp))
                left = builder.sub(const(height), first)
                rows = builder.select(builder.icmp_signed("<", left, const(cut.rows)), left, const(cut.rows))
                y_part = at(builder, y_block, (first, yrow))
                settling.emit(builder, lanes, cut.pitch, rows, (mp, y_part, n_block, s_block))

        with cgutils.for_range(builder, const(k // SIDE)) as loop:
            block(loop.index, SIDE)
        if k % SIDE:
            block(const(k // SIDE), k % SIDE)
        return context.get_dummy_value()

    signature = types.void(
        x, x_at, w, w_at, m, y, y_at, norm, sums, AMX, K, TAPS, SPAN, XROW, XSTEP, XDOWN, HEIGHT, WIDTH,
        YROW, YSTEP, MOMENTS,
    )  # fmt: skip
    return signature, codegen


@intrinsic
def begin_tiles(typingctx, AMX):
    """Before the first tile of a kernel."""
    shape = literals(AMX)
    if shape is None:
        return None

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tiles(builder, *shape).begin()
        return context.get_dummy_value()

    return types.void(AMX), codegen


@intrinsic
def end_tiles(typingctx, AMX):
    """After the last tile of a kernel."""
    shape = literals(AMX)
    if shape is None:
        return None

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        tiles(builder, *shape).end()
        return context.get_dummy_value()

    return types.void(AMX), codegen


@intrinsic
def tile_dot(typingctx, c, a, b, AMX):
    """c (16, 16) float32 = TDPBF16PS of c, a (16, 32), b (16, 16 pairs); flat arrays."""
    shape = literals(AMX)
    if shape is None:
        return None

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        places = [pointer(context, builder, signature.args[i], args[i], const(0)) for i in range(3)]
        t = tiles(builder, *shape)
        for tile, place in enumerate(places):
            t.load(tile, place, 64)
        t.dot(0, 1, 2)
        t.store(0, places[0], 64)
        return context.get_dummy_value()

    return types.void(c, a, b, AMX), codegen
