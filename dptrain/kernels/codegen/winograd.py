"""Winograd's F(2x2, 3x3) and F(4x4, 3x3) in blocks of TILES tiles; lanes run over channels.

A tile has TILE x TILE outputs and (TILE + 2) x (TILE + 2) inputs, and so many positions.
Outputs are A' [(G w G') * (B' d B)] A; the weight gradient is the transposed algorithm: G' [(A g A') * (B' d B)] G.
Sources: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, section 4.1; for TILE 2 with their
matrices. TILE 4 interpolates at 0, +-5/8, +-3/2 and infinity: every constant of A and B is exact in float32, and errors
are half of those with the usual 0, +-1, +-2 (docs/LOG.md). kernels/reference/winograd.py has the same transforms.

Transformed tiles lie in memory as (position, tile, channel) with SPREAD extra elements between positions. Without them
the positions of a tile shared one set of the nearest cache (28 to 47 us, docs/LOG.md).
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
from dptrain.kernels.reference.winograd import A1, A2, A3, B1, B2, B3, G0, GA, GB

#: The transforms, each from a square of values to a square.
INPUTS, OUTPUTS, GRADIENTS, WEIGHTS, SUMS = range(5)

Row = Sequence[ir.Value]


class _Vectors:
    """Arithmetic on vectors; `k` is a constant."""

    def __init__(self, vector: Lanes) -> None:
        builder = vector.builder
        self.add, self.sub, self.neg = builder.fadd, builder.fsub, builder.fneg
        self._vector = vector

    def mul(self, k: float, x: ir.Value) -> ir.Value:
        """k * x."""
        return self._vector.builder.fmul(self._constant(k), x)

    def fma(self, k: float, x: ir.Value, y: ir.Value) -> ir.Value:
        """k * x + y, rounded once."""
        return self._vector.fma(self._constant(k), x, y)

    def _constant(self, k: float) -> ir.Constant:
        return ir.Constant(self._vector.type, [k] * self._vector.lanes)


def _inputs2(o: _Vectors, d: Row) -> Row:
    return [o.sub(d[0], d[2]), o.add(d[1], d[2]), o.sub(d[2], d[1]), o.sub(d[1], d[3])]


def _outputs2(o: _Vectors, m: Row) -> Row:
    return [o.add(o.add(m[0], m[1]), m[2]), o.sub(o.sub(m[1], m[2]), m[3])]


def _gradients2(o: _Vectors, g: Row) -> Row:
    return [g[0], o.add(g[0], g[1]), o.sub(g[0], g[1]), o.neg(g[1])]


def _weights2(o: _Vectors, w: Row) -> Row:
    ends = o.add(w[0], w[2])
    return [w[0], o.mul(0.5, o.add(ends, w[1])), o.mul(0.5, o.sub(ends, w[1])), w[2]]


def _sums2(o: _Vectors, s: Row) -> Row:
    both, difference = o.mul(0.5, o.add(s[1], s[2])), o.mul(0.5, o.sub(s[1], s[2]))
    return [o.add(s[0], both), difference, o.add(both, s[3])]


def _inputs4(o: _Vectors, d: Row) -> Row:
    even_a, odd_a = o.fma(-B2, d[2], d[4]), o.fma(-B2, d[1], d[3])
    even_b, odd_b = o.fma(-A2, d[2], d[4]), o.fma(-A2, d[1], d[3])
    return [
        o.fma(A2 * B2, d[0], o.fma(-(A2 + B2), d[2], d[4])),
        o.fma(A1, odd_a, even_a),
        o.fma(-A1, odd_a, even_a),
        o.fma(B1, odd_b, even_b),
        o.fma(-B1, odd_b, even_b),
        o.fma(A2 * B2, d[1], o.fma(-(A2 + B2), d[3], d[5])),
    ]


def _outputs4(o: _Vectors, m: Row) -> Row:
    even_a, odd_a, even_b, odd_b = o.add(m[1], m[2]), o.sub(m[1], m[2]), o.add(m[3], m[4]), o.sub(m[3], m[4])
    return [
        o.add(o.add(m[0], even_a), even_b),
        o.fma(B1, odd_b, o.mul(A1, odd_a)),
        o.fma(B2, even_b, o.mul(A2, even_a)),
        o.fma(B3, odd_b, o.fma(A3, odd_a, m[5])),
    ]


def _gradients4(o: _Vectors, g: Row) -> Row:
    even_a, odd_a = o.fma(A2, g[2], g[0]), o.fma(A2, g[3], g[1])
    even_b, odd_b = o.fma(B2, g[2], g[0]), o.fma(B2, g[3], g[1])
    return [
        g[0],
        o.fma(A1, odd_a, even_a),
        o.fma(-A1, odd_a, even_a),
        o.fma(B1, odd_b, even_b),
        o.fma(-B1, odd_b, even_b),
        g[3],
    ]


def _weights4(o: _Vectors, w: Row) -> Row:
    ends_a, ends_b = o.fma(GA[2], w[2], o.mul(GA[0], w[0])), o.fma(GB[2], w[2], o.mul(GB[0], w[0]))
    return [
        o.mul(G0, w[0]),
        o.fma(GA[1], w[1], ends_a),
        o.fma(-GA[1], w[1], ends_a),
        o.fma(GB[1], w[1], ends_b),
        o.fma(-GB[1], w[1], ends_b),
        w[2],
    ]


def _sums4(o: _Vectors, s: Row) -> Row:
    even_a, odd_a, even_b, odd_b = o.add(s[1], s[2]), o.sub(s[1], s[2]), o.add(s[3], s[4]), o.sub(s[3], s[4])
    return [
        o.fma(GB[0], even_b, o.fma(GA[0], even_a, o.mul(G0, s[0]))),
        o.fma(GB[1], odd_b, o.mul(GA[1], odd_a)),
        o.fma(GB[2], even_b, o.fma(GA[2], even_a, s[5])),
    ]


_TRANSFORMS: dict[int, tuple[Callable[[_Vectors, Row], Row], ...]] = {
    2: (_inputs2, _outputs2, _gradients2, _weights2, _sums2),
    4: (_inputs4, _outputs4, _gradients4, _weights4, _sums4),
}


def _sides(which: int, tile: int) -> tuple[int, int]:
    """Of the squares that a transform reads and writes."""
    return ((tile + 2, tile + 2), (tile + 2, tile), (tile, tile + 2), (3, tile + 2), (tile + 2, 3))[which]


def step(channels: int) -> int:
    """Elements between the positions of transformed tiles."""
    return registers.TILES * channels + registers.SPREAD


@intrinsic
def transform(typingctx, x, x_at, v, v_at, WHICH, TILE, C, ROW):
    """One tile of C channels, down every column, then along every row.

    OUTPUTS and SUMS: from the positions at v[v_at] to pixels or taps at x[x_at]; the others from x to v. ROW elements
    lie between the rows of x.
    """
    shape = literals(WHICH, TILE, C, ROW)
    if shape is None:
        return None
    which, tile, c, row = shape
    (read, written), back = _sides(which, tile), which in (OUTPUTS, SUMS)
    pixels, spread = (row, c), ((tile + 2) * step(c), step(c))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        ends = [
            (pointer(context, builder, signature.args[i], args[i], args[i + 1]), s)
            for i, s in ((0, pixels), (2, spread))
        ]
        (source, (down, right)), (target, (out_down, out_right)) = reversed(ends) if back else ends
        vector = Lanes(builder, registers.lanes(c))
        o, line = _Vectors(vector), _TRANSFORMS[tile][which]
        with cgutils.for_range(builder, const(c // vector.lanes)) as loop:
            xc, yc = (at(builder, base, (loop.index, vector.lanes)) for base in (source, target))
            # Column after column, because the 36 values of a tile are more than there are registers.
            columns = [line(o, [vector.load(xc, i * down + j * right) for i in range(read)]) for j in range(read)]
            for i in range(written):
                for j, value in enumerate(line(o, [column[i] for column in columns])):
                    vector.store(value, yc, i * out_down + j * out_right)
        return context.get_dummy_value()

    return types.void(x, x_at, v, v_at, WHICH, TILE, C, ROW), codegen


@intrinsic
def tile_products(typingctx, v, u, m, TILE, C, K):
    """m[position, tile, k] = sum over c of v[position, tile, c] * u[position, k / lanes, c, k % lanes], in order."""
    shape = literals(TILE, C, K)
    if shape is None:
        return None
    tile, c, k = shape
    lanes = registers.lanes(k)
    blocks, tiles = registers.winograd_blocks(k)
    product = Correlation(c, 1, 1, 0, c, k, lanes, tiles, blocks)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        vp, up, mp = (pointer(context, builder, signature.args[i], args[i], const(0)) for i in range(3))
        with (
            cgutils.for_range(builder, const((tile + 2) ** 2)) as position,
            cgutils.for_range(builder, const(k // lanes // blocks)) as group,
        ):
            weights = at(builder, up, (position.index, c * k), (group.index, blocks * c * lanes))
            with cgutils.for_range(builder, const(registers.TILES // tiles)) as part:
                x = at(builder, vp, (position.index, step(c)), (part.index, tiles * c))
                y = at(builder, mp, (position.index, step(k)), (part.index, tiles * k), (group.index, blocks * lanes))
                product.emit(builder, x, weights, y)
        return context.get_dummy_value()

    return types.void(v, u, m, TILE, C, K), codegen


@intrinsic
def tile_sums(typingctx, v, d, sums, TILE, C, K):
    """sums[position, k / lanes, c, k % lanes] += sum over the tiles of v[position, tile, c] * d[position, tile, k]."""
    shape = literals(TILE, C, K)
    if shape is None:
        return None
    tile, c, k = shape
    lanes = registers.lanes(k)
    blocks, channels = registers.winograd_sums(c, k)
    product = Outer(c, 1, 0, c, 0, k, registers.TILES, c * lanes, lanes, channels, blocks)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        vp, dp, sp = (pointer(context, builder, signature.args[i], args[i], const(0)) for i in range(3))
        with (
            cgutils.for_range(builder, const((tile + 2) ** 2)) as position,
            cgutils.for_range(builder, const(k // lanes // blocks)) as group,
        ):
            dy = at(builder, dp, (position.index, step(k)), (group.index, blocks * lanes))
            with cgutils.for_range(builder, const(c // channels)) as part:
                x = at(builder, vp, (position.index, step(c)), (part.index, channels))
                dw = at(
                    builder,
                    sp,
                    (position.index, c * k),
                    (group.index, blocks * c * lanes),
                    (part.index, channels * lanes),
                )
                product.emit(builder, x, dy, dw, None)
        return context.get_dummy_value()

    return types.void(v, d, sums, TILE, C, K), codegen
