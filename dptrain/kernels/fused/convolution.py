"""A convolution of the network, forward and backward, with everything between it and its neighbours.

Every factory closes over plain ints, because only then does Numba's cache work in another process. C, H, W: channels,
height and width of the inputs; K: channels of the outputs; STRIDE: 1 runs as Winograd's, 2 directly; GROUP: images that
go through together; WIDE, KIND: width before halving and kind (codegen/lines.py) of the halving shortcut; LARGEST: the
largest Winograd tile of the network, of which sides in memory are multiples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import gcd

from dptrain.kernels.codegen.correlate import correlate_rows, outer_rows
from dptrain.kernels.compiled import kernel
from dptrain.kernels.fused import image, norm
from dptrain.kernels.fused.image import HALVING, PLAIN
from dptrain.kernels.winograd import add_sums, choose, convolve
from dptrain.types import F32, F64, I64


def rounded(side: int, tile: int) -> int:
    """The side of activations in memory: whole Winograd tiles."""
    return -(-side // tile) * tile


def line(channels: int) -> int:
    """Channels that a line kernel takes at a time: one cache line of them where there are so many."""
    return 16 if channels % 16 == 0 else 8


def narrow(channels: int) -> int:
    """Channels that the halving shortcut moves at a time: they divide a quarter of `channels` (matters at 24)."""
    return gcd(line(channels), max(channels // 4, 1))


@cache
def forward(
    C: int, K: int, H: int, W: int, STRIDE: int, WIDE: int, KIND: int, GROUP: int, LARGEST: int
) -> Callable[..., None]:
    """Inputs (through the BatchNorm below, the shortcut and ReLU), convolution, moments of the outputs.

    KIND is 0 and WIDE is not used where the inputs cannot come through a halving shortcut.
    """
    LINE, OUTLINE, NARROW = line(C), line(K), narrow(C)
    ZROW, AROW = rounded(W, LARGEST) * C, (rounded(W, LARGEST) + 2) * C
    ZIMAGE, AIMAGE, INNER = rounded(H, LARGEST) * ZROW, (rounded(H, LARGEST) + 2) * AROW, AROW + C
    P, Q = -(-H // STRIDE), -(-W // STRIDE)
    YROW, TILE = rounded(Q, LARGEST) * K, choose(C, K, P, Q, LARGEST)
    ROWS, COLUMNS = -(-P // TILE), -(-Q // TILE)
    YIMAGE, PIXELS, XROW, XSTEP, TAPS = rounded(P, LARGEST) * YROW, P * Q, STRIDE * AROW, STRIDE * C, 3
    SROW = (rounded(WIDE, LARGEST) + 2) * C // 2
    SROWS, SINNER = 2 * SROW, SROW + C // 2

    @kernel
    def run(
        mode: int, stored: int, z: F32, norm_in: F32, s: F32, s_image: int, a: F32, u: F32, y: F32,
        train: int, norm_out: F32, total: F64, n: int, v: F32, m: F32,
    ) -> None:  # fmt: skip
        if train:
            norm.begin(total, norm_out)
        for first in range(0, n, GROUP):
            count = min(GROUP, n - first)
            base = first * AIMAGE if stored else 0
            for i in range(count):
                z_at, a_at = (first + i) * ZIMAGE, base + i * AIMAGE + INNER
                if KIND and mode == HALVING:
                    image.apply_halving(
                        z, z_at, norm_in, s, (first + i) * s_image + SINNER, a, a_at,
                        H, C, NARROW, W, ZROW, AROW, SROWS, KIND,
                    )  # fmt: skip
                else:
                    s_at = (first + i) * AIMAGE + INNER
                    image.apply(mode, z, z_at, norm_in, s, s_at, a, a_at, H, C, LINE, W, ZROW, AROW)
            if STRIDE == 1:
                convolve(
                    a, base, AIMAGE, u, y, first * YIMAGE, YIMAGE, count, ROWS, COLUMNS, v, m, TILE, C, K, AROW, YROW
                )
            else:
                for i in range(count):
                    correlate_rows(
                        a,
                        base + i * AIMAGE,
                        XROW,
                        u,
                        0,
                        y,
                        (first + i) * YIMAGE,
                        YROW,
                        P,
                        C,
                        K,
                        TAPS,
                        TAPS,
                        AROW,
                        XSTEP,
                        K,
                        Q,
                    )
            if train:
                for i in range(first, first + count):
                    image.moments(y, i * YIMAGE, norm_out, total, P, K, OUTLINE, Q, YROW)
                    if i == 0:
                        norm.guess(total, norm_out, PIXELS)
                        image.moments(y, 0, norm_out, total, P, K, OUTLINE, Q, YROW)

    return run


@cache
def backward(C: int, K: int, H: int, W: int, STRIDE: int, KIND: int, GROUP: int, LARGEST: int) -> Callable[..., None]:
    """Gradients before BatchNorm, of the weights, of the inputs, behind the BatchNorm below, and the sums for that one.

    KIND: kind of the halving shortcut around this convolution; 0 if there is none.
    """
    LINE, OUTLINE = line(C), line(K)
    ZROW, AROW = rounded(W, LARGEST) * C, (rounded(W, LARGEST) + 2) * C
    ZIMAGE, AIMAGE, INNER = rounded(H, LARGEST) * ZROW, (rounded(H, LARGEST) + 2) * AROW, AROW + C
    P, Q = -(-H // STRIDE), -(-W // STRIDE)
    YROW, DROW, TILE = rounded(Q, LARGEST) * K, (rounded(Q, LARGEST) + 2) * K, choose(C, K, P, Q, LARGEST)
    ROWS, COLUMNS = -(-P // TILE), -(-Q // TILE)
    YIMAGE, DIMAGE, DINNER = rounded(P, LARGEST) * YROW, (rounded(P, LARGEST) + 2) * DROW, DROW + K
    ONE, TWO, TAPS, DOUBLE, TWICE = 1, 2, 3, 2 * ZROW, 2 * C
    P1, Q1 = H // 2, W // 2  # odd rows and columns of the input

    @kernel
    def run(
        mode: int, recompute: int, g: F32, y: F32, norm_out: F32, norm_in: F32, z: F32, a: F32, g_in: F32, coarse: F32,
        u: F32, u_at: I64, sums: F32, total: F64, n: int, dz: F32, da: F32, v: F32, d: F32, m: F32,
    ) -> None:  # fmt: skip
        sums[:] = 0
        total[:] = 0
        for first in range(0, n, GROUP):
            count = min(GROUP, n - first)
            base = 0 if recompute else first * AIMAGE
            for i in range(count):
                image.gradient(
                    g, y, (first + i) * YIMAGE, norm_out, dz, i * DIMAGE + DINNER, P, K, OUTLINE, Q, YROW, DROW
                )
                if recompute:
                    image.apply(
                        PLAIN, z, (first + i) * ZIMAGE, norm_in, a, 0, a, i * AIMAGE + INNER, H, C, LINE, W, ZROW, AROW
                    )
            if STRIDE == 1:
                add_sums(a, base, AIMAGE, dz, DINNER, DIMAGE, sums, count, ROWS, COLUMNS, v, d, TILE, C, K, AROW, DROW)
                convolve(dz, 0, DIMAGE, u, da, 0, ZIMAGE, count, ROWS, COLUMNS, d, m, TILE, K, C, DROW, ZROW)
            else:
                for i in range(count):
                    x_at, dz_at, da_at = base + i * AIMAGE, i * DIMAGE + DINNER, i * ZIMAGE
                    outer_rows(a, x_at, dz, dz_at, sums, P, C, K, TAPS, TAPS, AROW, STRIDE, DROW, K, Q)
                    # Pixels by the parity of row and column: 1, 2, 2 or 4 taps reach them (conv.input_gradient).
                    correlate_rows(dz, dz_at, DROW, u, 0, da, da_at, DOUBLE, P, K, C, ONE, ONE, DROW, K, TWICE, Q)
                    correlate_rows(
                        dz, dz_at, DROW, u, u_at[1], da, da_at + C, DOUBLE, P, K, C, ONE, TWO, DROW, K, TWICE, Q1
                    )
                    correlate_rows(
                        dz, dz_at, DROW, u, u_at[2], da, da_at + ZROW, DOUBLE, P1, K, C, TWO, ONE, DROW, K, TWICE, Q
                    )
                    correlate_rows(
                        dz,
                        dz_at,
                        DROW,
                        u,
                        u_at[3],
                        da,
                        da_at + ZROW + C,
                        DOUBLE,
                        P1,
                        K,
                        C,
                        TWO,
                        TWO,
                        DROW,
                        K,
                        TWICE,
                        Q1,
                    )
                    if KIND and mode == HALVING:
                        image.spread(coarse, (first + i) * YIMAGE, da, da_at, P, C, LINE, KIND, Q, YROW, ZROW)
            for i in range(count):
                z_at, a_at = (first + i) * ZIMAGE, base + i * AIMAGE + INNER
                image.mask(mode, da, i * ZIMAGE, a, a_at, z, g_in, z_at, norm_in, total, H, C, LINE, W, ZROW, AROW)

    return run
