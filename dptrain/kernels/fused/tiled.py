"""The passes of fused/convolution.py and the stem's, in bf16 on matrix tiles. Same factories, other scratch.

Maps are bf16 in 16-bit integers, in the same geometry; what is between them is float32, and so are weight gradients.

Order of additions. Output: tap row after tap row, its 3 c elements in thirty-twos, each one TDPBF16PS, from zero. Input
gradient: the same over mirrored weights; stride 2: by the parity of a pixel, over the taps that reach it. Weight
gradient: image after image, in thirty-twos of the positions of the framed gradient from its first pixel on, from zero.
Rounded to bf16 are standardised pixels, outputs, maps, gradients before and after BatchNorm, and the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from dptrain.kernels import amx
from dptrain.kernels._jit import kernel
from dptrain.kernels.fused import image, norm
from dptrain.kernels.fused.convolution import even, line, narrow
from dptrain.kernels.fused.image import HALVING, PLAIN
from dptrain.kernels.intrinsics import strips
from dptrain.kernels.intrinsics.tiled import begin_tiles, convolve_tiles, end_tiles
from dptrain.kernels.intrinsics.tilesums import pair_image, sum_tiles, transpose_image
from dptrain.types import F32, F64, I64, U8, U16


@kernel
def _add_moments(sums: F32, total: F64, channels: int) -> None:
    """total (2, channels) += even + odd chain of every channel; sums become zero. 64 sums are of 16 channels."""
    for c in range(channels):
        lanes = min(16, channels - c // 16 * 16)
        at = c // 16 * 64 + c % 16
        total[c] += np.float64(sums[at] + sums[at + lanes])
        total[channels + c] += np.float64(sums[at + 2 * lanes] + sums[at + 3 * lanes])
    sums[:] = 0


@cache
def forward(C: int, K: int, H: int, W: int, STRIDE: int, WIDE: int, KIND: int) -> Callable[..., None]:
    """Input map (through the BatchNorm below, and the shortcut), convolution, moments; image by image."""
    LINE, OUTLINE, NARROW, AMX = line(C), line(K), narrow(C), amx.tiles()
    ZROW, AROW = even(W) * C, (even(W) + 2) * C
    ZIMAGE, AIMAGE, INNER = even(H) * ZROW, (even(H) + 2) * AROW, AROW + C
    P, Q = -(-H // STRIDE), -(-W // STRIDE)
    YROW, PIXELS, XDOWN, XSTEP, TAPS, SPAN = even(Q) * K, P * Q, STRIDE * AROW, STRIDE * C, 3, 3 * C
    YIMAGE, YES, NO = even(P) * YROW, 1, 0
    SROW = (even(WIDE) + 2) * C // 2
    SROWS, SINNER = 2 * SROW, SROW + C // 2

    @kernel
    def run(
        mode: int, stored: int, z: U16, norm_in: F32, s: U16, s_image: int, a: U16, u: U16, y: U16,
        train: int, norm_out: F32, total: F64, n: int, m: F32, sums: F32,
    ) -> None:  # fmt: skip
        begin_tiles(AMX)
        if train:
            norm.begin(total, norm_out)
            sums[:] = 0
        for i in range(n):
            base, y_at = i * AIMAGE if stored else 0, i * YIMAGE
            if KIND and mode == HALVING:
                image.apply_halving(
                    z, i * ZIMAGE, norm_in, s, i * s_image + SINNER, a, base + INNER,
                    H, C, NARROW, W, ZROW, AROW, SROWS, KIND,
                )  # fmt: skip
            else:
                image.apply(
                    mode, z, i * ZIMAGE, norm_in, s, i * AIMAGE + INNER, a, base + INNER, H, C, LINE, W, ZROW, AROW
                )
            if train:
                convolve_tiles(
                    a, base, u, 0, m, y, y_at, norm_out, sums,
                    AMX, K, TAPS, SPAN, AROW, XSTEP, XDOWN, P, Q, YROW, K, YES,
                )  # fmt: skip
                _add_moments(sums, total, K)
                if i == 0:
                    norm.guess(total, norm_out, PIXELS)
                    image.moments(y, 0, norm_out, total, P, K, OUTLINE, Q, YROW)
            else:
                convolve_tiles(
                    a, base, u, 0, m, y, y_at, norm_out, sums,
                    AMX, K, TAPS, SPAN, AROW, XSTEP, XDOWN, P, Q, YROW, K, NO,
                )  # fmt: skip
        end_tiles(AMX)

    return run


@cache
def backward(C: int, K: int, H: int, W: int, STRIDE: int, KIND: int, GROUP: int) -> Callable[..., None]:
    """Gradient before BatchNorm, of the weights, of the input map, after the BatchNorm below, and that one's sums."""
    LINE, OUTLINE, AMX = line(C), line(K), amx.tiles()
    ZROW, AROW = even(W) * C, (even(W) + 2) * C
    ZIMAGE, AIMAGE, INNER = even(H) * ZROW, (even(H) + 2) * AROW, AROW + C
    P, Q = -(-H // STRIDE), -(-W // STRIDE)
    YROW, DROW = even(Q) * K, (even(Q) + 2) * K
    YIMAGE, DIMAGE, DINNER = even(P) * YROW, (even(P) + 2) * DROW, DROW + K
    lie = strips.line(C, P, Q, STRIDE)
    TIMAGE, PIMAGE = lie.inputs, lie.gradients(K)
    ONE, TWO, TAPS, NO, DOUBLE, TWICE = 1, 2, 3, 0, 2 * ZROW, 2 * C
    SPAN, DOUBLESPAN = 3 * K, 2 * K
    P1, Q1 = H // 2, W // 2  # odd rows and columns of the input

    @kernel
    def run(
        mode: int, recompute: int, g: U16, y: U16, norm_out: F32, norm_in: F32, z: U16, a: U16, g_in: U16, coarse: U16,
        u: U16, u_at: I64, sums: F32, total: F64, n: int, dz: U16, da: F32, xt: U16, pairs: U16, m: F32,
    ) -> None:  # fmt: skip
        begin_tiles(AMX)
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
                transpose_image(a, base + i * AIMAGE, xt, i * TIMAGE, C, P, Q, STRIDE)
                pair_image(dz, i * DIMAGE + DINNER, pairs, i * PIMAGE, K, P, Q)
            sum_tiles(xt, pairs, sums, count, AMX, C, K, P, Q, STRIDE)
            for i in range(count):
                d_at, z_at = i * DIMAGE, (first + i) * ZIMAGE
                if STRIDE == 1:
                    convolve_tiles(
                        dz, d_at, u, 0, m, da, 0, norm_in, m, AMX, C, TAPS, SPAN, DROW, K, DROW, H, W, ZROW, C, NO
                    )
                else:
                    d_at += DINNER
                    # Pixels by the parity of their row and column: 1, 2, 2 or 4 taps reach them (kernels/conv/jit.py).
                    convolve_tiles(
                        dz, d_at, u, 0, m, da, 0, norm_in, m, AMX, C, ONE, K, DROW, K, DROW, P, Q, DOUBLE, TWICE, NO
                    )
                    convolve_tiles(
                        dz, d_at, u, u_at[1], m, da, C, norm_in, m,
                        AMX, C, ONE, DOUBLESPAN, DROW, K, DROW, P, Q1, DOUBLE, TWICE, NO,
                    )  # fmt: skip
                    convolve_tiles(
                        dz, d_at, u, u_at[2], m, da, ZROW, norm_in, m,
                        AMX, C, TWO, K, DROW, K, DROW, P1, Q, DOUBLE, TWICE, NO,
                    )  # fmt: skip
                    convolve_tiles(
                        dz, d_at, u, u_at[3], m, da, ZROW + C, norm_in, m,
                        AMX, C, TWO, DOUBLESPAN, DROW, K, DROW, P1, Q1, DOUBLE, TWICE, NO,
                    )  # fmt: skip
                    if KIND and mode == HALVING:
                        image.spread(coarse, (first + i) * YIMAGE, da, 0, P, C, LINE, KIND, Q, YROW, ZROW)
                image.mask(
                    mode, da, 0, a, base + i * AIMAGE + INNER, z, g_in, z_at, norm_in, total,
                    H, C, LINE, W, ZROW, AROW,
                )  # fmt: skip
        end_tiles(AMX)

    return run


@cache
def stem_forward(C: int, K: int, H: int, W: int) -> Callable[..., None]:
    """Pixels, convolution, moments."""
    AROW, YROW, OUTLINE, AMX = (even(W) + 2) * C, even(W) * K, line(K), amx.tiles()
    YIMAGE, PIXELS, TAPS, SPAN, YES, NO = even(H) * YROW, H * W, 3, 3 * C, 1, 0

    @kernel
    def run(
        x: U8, table: U16, a: U16, u: U16, y: U16, train: int, norm_out: F32, total: F64, n: int, m: F32, sums: F32
    ) -> None:
        begin_tiles(AMX)
        if train:
            norm.begin(total, norm_out)
            sums[:] = 0
        for i in range(n):
            image.standardise(x, i, table, a, AROW)
            if train:
                convolve_tiles(
                    a, 0, u, 0, m, y, i * YIMAGE, norm_out, sums,
                    AMX, K, TAPS, SPAN, AROW, C, AROW, H, W, YROW, K, YES,
                )  # fmt: skip
                _add_moments(sums, total, K)
                if i == 0:
                    norm.guess(total, norm_out, PIXELS)
                    image.moments(y, 0, norm_out, total, H, K, OUTLINE, W, YROW)
            else:
                convolve_tiles(
                    a, 0, u, 0, m, y, i * YIMAGE, norm_out, sums,
                    AMX, K, TAPS, SPAN, AROW, C, AROW, H, W, YROW, K, NO,
                )  # fmt: skip
        end_tiles(AMX)

    return run


@cache
def stem_backward(C: int, K: int, H: int, W: int) -> Callable[..., None]:
    """Gradient before BatchNorm, and of the weights."""
    AROW, YROW, OUTLINE, AMX = (even(W) + 2) * C, even(W) * K, line(K), amx.tiles()
    DROW = (even(W) + 2) * K
    YIMAGE, DINNER, ONE = even(H) * YROW, DROW + K, 1

    @kernel
    def run(
        x: U8, table: U16, a: U16, g: U16, y: U16, norm_out: F32, sums: F32, dz: U16, n: int, xt: U16, pairs: U16
    ) -> None:
        begin_tiles(AMX)
        sums[:] = 0
        for i in range(n):
            image.standardise(x, i, table, a, AROW)
            image.gradient(g, y, i * YIMAGE, norm_out, dz, DINNER, H, K, OUTLINE, W, YROW, DROW)
            transpose_image(a, 0, xt, 0, C, H, W, ONE)
            pair_image(dz, DINNER, pairs, 0, K, H, W)
            sum_tiles(xt, pairs, sums, 1, AMX, C, K, H, W, ONE)
        end_tiles(AMX)

    return run
