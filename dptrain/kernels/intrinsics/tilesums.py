"""A weight gradient on matrix tiles: products are of pixels, so both operands are rearranged first.

The gradient becomes pairs of neighbouring positions, the inputs lines of positions, a channel each, in 16-bit integers.
A tap is a distance along the lines (strips.Line.shift). The frame's zeros among the gradients hide what the inputs have
there. A pixel's channels are read in sixteens, also where there are fewer: what comes of those is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dptrain.kernels.intrinsics.strips import DEPTH, SIDE, blocks, line
from dptrain.kernels.intrinsics.tile import tiles
from dptrain.kernels.intrinsics.tiled import ELEMENTS, WEIGHTS
from dptrain.kernels.intrinsics.vector import I16, I32, at, const, literals, pointer

_HALF, _FULL = ir.VectorType(I16, SIDE), ir.VectorType(I16, DEPTH)


@intrinsic
def sum_tiles(typingctx, xt, p, sums, images, AMX, C, K, HEIGHT, WIDTH, STRIDE):
    """sums[c / 16][k / 16][r][s][c % 16][k % 16] += sum over images and positions of xt[c] at the tap * p[k].

    In order, 32 positions a TDPBF16PS; `images` lie one after another in xt and p.
    """
    shape = literals(AMX, C, K, HEIGHT, WIDTH, STRIDE)
    if shape is None:
        return None
    amx, c, k, height, width, stride = shape
    lie = line(c, height, width, stride)
    groups = blocks(k, SIDE)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        xp, pp, sp = (pointer(context, builder, signature.args[i], args[i], const(0)) for i in range(3))
        t = tiles(builder, amx)

        def row(x: ir.Value, pairs: ir.Value, out: ir.Value, r: int) -> None:
            for s in range(3):
                t.load(s, builder.gep(out, [const(s * ELEMENTS)]), 64)
            with (
                cgutils.for_range(builder, args[3]) as image,
                cgutils.for_range(builder, const(lie.blocks)) as block,
            ):
                t.load(7, at(builder, pairs, (image.index, lie.gradients(k)), (block.index, WEIGHTS)), 64)
                base = at(builder, x, (image.index, lie.inputs), (block.index, DEPTH))
                for s in range(3):
                    t.load(3 + s, builder.gep(base, [const(lie.shift(r, s))]), 2 * lie.length)
                    t.dot(s, 3 + s, 7)
            for s in range(3):
                t.store(s, builder.gep(out, [const(s * ELEMENTS)]), 64)

        with (
            cgutils.for_range(builder, const(lie.channels // SIDE)) as inputs,
            cgutils.for_range(builder, const(groups)) as outputs,
        ):
            x = at(builder, xp, (inputs.index, SIDE * lie.length))
            pairs = at(builder, pp, (outputs.index, lie.blocks * WEIGHTS))
            out = at(builder, sp, (inputs.index, groups * 9 * ELEMENTS), (outputs.index, 9 * ELEMENTS))
            for r in range(3):
                row(x, pairs, builder.gep(out, [const(r * 3 * ELEMENTS)]), r)
        return context.get_dummy_value()

    return types.void(xt, p, sums, images, AMX, C, K, HEIGHT, WIDTH, STRIDE), codegen


@intrinsic
def transpose_image(typingctx, x, x_at, xt, t_at, C, HEIGHT, WIDTH, STRIDE):
    """The framed inputs x of a convolution with HEIGHT x WIDTH outputs as lines xt (plane, channel, position).

    Every element a product is made with is written: nothing of what has been there before is left.
    """
    shape = literals(C, HEIGHT, WIDTH, STRIDE)
    if shape is None:
        return None
    c, height, width, stride = shape
    lie = line(c, height, width, stride)
    row = (width + width % 2 + 2 if stride == 1 else 2 * width + 2) * c
    rows = height + height % 2 + 2 if stride == 1 else height + 1

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        xp = pointer(context, builder, signature.args[0], args[0], args[1])
        tp = pointer(context, builder, signature.args[2], args[2], args[3])
        with cgutils.for_range(builder, const(lie.channels // SIDE)) as loop:
            x, xt = at(builder, xp, (loop.index, SIDE)), at(builder, tp, (loop.index, SIDE * lie.length))
            for plane in range(lie.planes):
                source = builder.gep(x, [const(plane // 2 * row + plane % 2 * c)])
                target = builder.gep(xt, [const(plane * lie.channels * lie.length)])
                if stride == 1:
                    _transpose(builder, (source, c), (target, lie.length), rows * lie.pitch, lie.length)
                    continue
                _clear(builder, target, lie.length, (height * lie.pitch // DEPTH, lie.length // DEPTH))
                with cgutils.for_range(builder, const(rows)) as loop_rows:
                    one = at(builder, source, (loop_rows.index, 2 * row))
                    there = at(builder, target, (loop_rows.index, lie.pitch))
                    _transpose(builder, (one, 2 * c), (there, lie.length), width + 1, lie.pitch)
        return context.get_dummy_value()

    return types.void(x, x_at, xt, t_at, C, HEIGHT, WIDTH, STRIDE), codegen


def _clear(builder: ir.IRBuilder, lines: ir.Value, length: int, span: tuple[int, int]) -> None:
    """Zeros in the blocks of 32 positions from the first to before the last one, in the lines of 16 channels."""
    first, last = span
    if first >= last:
        return
    begin = builder.gep(lines, [const(first * DEPTH)])
    with (
        cgutils.for_range(builder, const(SIDE)) as channel,
        cgutils.for_range(builder, const(last - first)) as block,
    ):
        place = at(builder, begin, (channel.index, length), (block.index, DEPTH))
        builder.store(ir.Constant(_FULL, [0] * DEPTH), _full(builder, place)).align = 2


def _transpose(
    builder: ir.IRBuilder, pixels: tuple[ir.Value, int], lines: tuple[ir.Value, int], count: int, extent: int
) -> None:
    """`count` pixels (address, elements between them) of 16 channels to lines (address, elements between them).

    Then zeros, in thirty-twos, until at least `extent` positions are written.
    """
    (x, step), (xt, length) = pixels, lines
    with cgutils.for_range(builder, const(count // DEPTH)) as block:
        part = at(builder, x, (block.index, DEPTH * step))
        _transpose_block(builder, (part, step), (at(builder, xt, (block.index, DEPTH)), length), DEPTH)
    done = count // DEPTH
    if count % DEPTH:
        part = builder.gep(x, [const(done * DEPTH * step)])
        _transpose_block(builder, (part, step), (builder.gep(xt, [const(done * DEPTH)]), length), count % DEPTH)
        done += 1
    _clear(builder, xt, length, (done, blocks(extent, DEPTH)))


def _transpose_block(
    builder: ir.IRBuilder, pixels: tuple[ir.Value, int], lines: tuple[ir.Value, int], count: int
) -> None:
    """`count` <= 32 pixels, zeros in place of the rest."""
    (x, step), (xt, length) = pixels, lines
    read = [_load(builder, x, i * step) if i < count else ir.Constant(_HALF, [0] * SIDE) for i in range(DEPTH)]
    for c, value in enumerate(_riffled(builder, read)):
        builder.store(value, _full(builder, builder.gep(xt, [const(c * length)]))).align = 2


def _riffled(builder: ir.IRBuilder, pixels: list[ir.Value]) -> list[ir.Value]:
    """32 pixels of 16 channels -> 16 channels of 32 pixels.

    Register p begins with pixel p in its lower and pixel p + 16 in its upper half. Each of four stages then swaps one
    bit of the register's number with the same bit of the place within a half.
    """
    rows = [builder.shuffle_vector(pixels[p], pixels[p + SIDE], _mask(range(DEPTH))) for p in range(SIDE)]
    for bit in (1, 2, 4, 8):
        low = _mask(DEPTH + (i ^ bit) if i & bit else i for i in range(DEPTH))
        high = _mask(DEPTH + i if i & bit else i | bit for i in range(DEPTH))
        for p in range(SIDE):
            if not p & bit:
                a, b = rows[p], rows[p | bit]
                rows[p], rows[p | bit] = builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)
    return rows


@intrinsic
def pair_image(typingctx, d, d_at, p, p_at, K, HEIGHT, WIDTH):
    """The gradient d, from its first pixel in a frame of zeros, as pairs of positions p; zeros behind the last one."""
    shape = literals(K, HEIGHT, WIDTH)
    if shape is None:
        return None
    k, height, width = shape
    lie = line(1, height, width, 1)  # the gradient's line does not depend on the inputs

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        dp = pointer(context, builder, signature.args[0], args[0], args[1])
        pp = pointer(context, builder, signature.args[2], args[2], args[3])
        with cgutils.for_range(builder, const(blocks(k, SIDE))) as loop:
            source, target = at(builder, dp, (loop.index, SIDE)), at(builder, pp, (loop.index, lie.blocks * WEIGHTS))
            with cgutils.for_range(builder, const(lie.pairs)) as pair:
                place = at(builder, source, (pair.index, 2 * k))
                values = [_load(builder, place, i * k) for i in range(2)]
                joined = builder.shuffle_vector(*values, _mask(i // 2 + SIDE * (i % 2) for i in range(DEPTH)))
                builder.store(joined, _full(builder, at(builder, target, (pair.index, DEPTH)))).align = 2
            rest = builder.gep(target, [const(lie.pairs * DEPTH)])
            with cgutils.for_range(builder, const(lie.blocks * SIDE - lie.pairs)) as pair:
                zeros = ir.Constant(_FULL, [0] * DEPTH)
                builder.store(zeros, _full(builder, at(builder, rest, (pair.index, DEPTH)))).align = 2
        return context.get_dummy_value()

    return types.void(d, d_at, p, p_at, K, HEIGHT, WIDTH), codegen


def _load(builder: ir.IRBuilder, base: ir.Value, offset: int) -> ir.Value:
    """16 channels."""
    value = builder.load(builder.bitcast(builder.gep(base, [const(offset)]), _HALF.as_pointer()))
    value.align = 2
    return value


def _full(builder: ir.IRBuilder, place: ir.Value) -> ir.Value:
    return builder.bitcast(place, _FULL.as_pointer())


def _mask(places: Iterable[int]) -> ir.Constant:
    numbers = list(places)
    return ir.Constant(ir.VectorType(I32, len(numbers)), numbers)
