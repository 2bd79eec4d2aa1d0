"""The two ends of the convolutions: the stem, which reads pixels, and the tail, which averages over the last ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from dptrain.kernels.codegen.correlate import correlate_rows, outer_rows
from dptrain.kernels.codegen.lines import fill_line, mean_line
from dptrain.kernels.compiled import kernel
from dptrain.kernels.fused import image, norm
from dptrain.kernels.fused.convolution import line, narrow, rounded
from dptrain.kernels.fused.image import HALVING, PLAIN
from dptrain.types import F32, F64, U8


@kernel
def pixel_values(mean: F32, std: F32, table: F32) -> None:
    """table (channels, 256) = (value - mean) / std for each pixel value 0..255; mean, std: (channels,)."""
    for c in range(len(mean)):
        for value in range(256):
            table[c, value] = (np.float32(value) - mean[c]) / std[c]


@cache
def stem_forward(C: int, K: int, H: int, W: int, TILE: int) -> Callable[..., None]:
    """Standardised pixels, convolution, moments of the outputs."""
    AROW, YROW, OUTLINE = (rounded(W, TILE) + 2) * C, rounded(W, TILE) * K, line(K)
    YIMAGE, PIXELS, TAPS = rounded(H, TILE) * YROW, H * W, 3

    @kernel
    def run(x: U8, table: F32, a: F32, u: F32, y: F32, train: int, norm_out: F32, total: F64, n: int) -> None:
        if train:
            norm.begin(total, norm_out)
        for i in range(n):
            image.standardise(x, i, table, a, AROW)
            correlate_rows(a, 0, AROW, u, 0, y, i * YIMAGE, YROW, H, C, K, TAPS, TAPS, AROW, C, K, W)
            if train:
                image.moments(y, i * YIMAGE, norm_out, total, H, K, OUTLINE, W, YROW)
                if i == 0:
                    norm.guess(total, norm_out, PIXELS)
                    image.moments(y, 0, norm_out, total, H, K, OUTLINE, W, YROW)

    return run


@cache
def stem_backward(C: int, K: int, H: int, W: int, TILE: int) -> Callable[..., None]:
    """Gradients before BatchNorm and of the weights. Nothing below needs a gradient of the pixels."""
    AROW, YROW, OUTLINE = (rounded(W, TILE) + 2) * C, rounded(W, TILE) * K, line(K)
    YIMAGE, TAPS, ONE = rounded(H, TILE) * YROW, 3, 1

    @kernel
    def run(x: U8, table: F32, a: F32, g: F32, y: F32, norm_out: F32, sums: F32, dz: F32, n: int) -> None:
        sums[:] = 0
        for i in range(n):
            image.standardise(x, i, table, a, AROW)
            image.gradient(g, y, i * YIMAGE, norm_out, dz, 0, H, K, OUTLINE, W, YROW, YROW)
            outer_rows(a, 0, dz, 0, sums, H, C, K, TAPS, TAPS, AROW, ONE, YROW, K, W)

    return run


@cache
def tail_forward(C: int, H: int, W: int, WIDE: int, KIND: int, TILE: int) -> Callable[..., None]:
    """The last activations, and their means over the pixels: out (n, C). WIDE, KIND as in fused/convolution.py."""
    LINE, NARROW = line(C), narrow(C)
    ZROW, AROW = rounded(W, TILE) * C, (rounded(W, TILE) + 2) * C
    ZIMAGE, AIMAGE, INNER, PIXELS = rounded(H, TILE) * ZROW, (rounded(H, TILE) + 2) * AROW, AROW + C, H * W
    SROW = (rounded(WIDE, TILE) + 2) * C // 2
    SROWS, SINNER = 2 * SROW, SROW + C // 2

    @kernel
    def run(mode: int, z: F32, norm_in: F32, s: F32, s_image: int, a: F32, out: F32, n: int) -> None:
        for i in range(n):
            at = i * AIMAGE + INNER
            if KIND and mode == HALVING:
                image.apply_halving(
                    z, i * ZIMAGE, norm_in, s, i * s_image + SINNER, a, at, H, C, NARROW, W, ZROW, AROW, SROWS, KIND
                )
            else:
                image.apply(mode, z, i * ZIMAGE, norm_in, s, at, a, at, H, C, LINE, W, ZROW, AROW)
            for c in range(0, C, LINE):
                mean_line(a, at + c, out, i * C + c, H, C, LINE, PIXELS, W, AROW)

    return run


@cache
def tail_backward(C: int, H: int, W: int, TILE: int) -> Callable[..., None]:
    """From the gradient of the means to the one behind the last BatchNorm, and the sums for that BatchNorm."""
    LINE, ZROW, AROW = line(C), rounded(W, TILE) * C, (rounded(W, TILE) + 2) * C
    ZIMAGE, AIMAGE, INNER, PIXELS = rounded(H, TILE) * ZROW, (rounded(H, TILE) + 2) * AROW, AROW + C, H * W

    @kernel
    def run(dy: F32, a: F32, z: F32, norm_in: F32, g_in: F32, total: F64, da: F32, n: int) -> None:
        total[:] = 0
        for i in range(n):
            for c in range(0, C, LINE):
                fill_line(dy, i * C + c, da, c, H, C, LINE, PIXELS, W, ZROW)
            at = i * AIMAGE + INNER
            image.mask(PLAIN, da, 0, a, at, z, g_in, i * ZIMAGE, norm_in, total, H, C, LINE, W, ZROW, AROW)

    return run
