"""3 x 3 convolution with stride 1 and pad 1 by Winograd's F(2x2, 3x3): 16 products in place of 36.

1.3 to 2 times as fast as the direct kernels, and no less exact, because its chains of sums are shorter (measured:
docs/LOG.md). Another algorithm for reference/conv.py.

Order of additions. Outputs: per tile position, input channel after input channel, one fma each, from zero; then the
transforms of codegen/winograd.py. Weight gradient: tiles in order (image, row, column) in blocks of TILES, the last
block filled with zeros; within a block tile after tile, one fma each, from zero; then the sums of the blocks in order,
from zero. The engine begins a new block with every group of images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import literally

from dptrain.kernels.codegen import registers
from dptrain.kernels.codegen.registers import TILES
from dptrain.kernels.codegen.winograd import gradient_tile, input_tile, output_tile, tile_products, tile_sums
from dptrain.kernels.compiled import aligned_empty, aligned_zeros, kernel
from dptrain.types import F32

POSITIONS = 16
#: Filters per lane whose taps are gathered before they are transformed: long lines of additions, in the first cache.
_AT_ONCE = 8


def fits(inputs: int, outputs: int, taps: tuple[int, int], stride: int, pad: int) -> bool:
    """Whether this file can compute such a convolution (and is then faster than the direct kernels)."""
    return taps == (3, 3) and stride == 1 and pad == 1 and inputs % 8 == 0 and outputs % 8 == 0


@kernel
def transform_weights(weights: F32, out: F32, flip: bool) -> None:
    """Weights (k, c, 3, 3) to G w G' in blocks out (position, k / lanes, c, lanes); c is a multiple of 8.

    flip: taps mirrored, and lanes run over c: the weights of an input gradient.
    """
    _, groups, inner, lanes = out.shape
    line = _AT_ONCE * lanes
    lines = out.reshape(POSITIONS, groups, inner * lanes)
    taps, t = np.empty((9, line), np.float32), np.empty((12, line), np.float32)
    half = np.float32(0.5)
    for g in range(groups):
        for first in range(0, inner, _AT_ONCE):
            for i in range(_AT_ONCE):
                for lane in range(lanes):
                    o = g * lanes + lane
                    w = weights[first + i, o] if flip else weights[o, first + i]
                    for r in range(3):
                        for s in range(3):
                            taps[8 - 3 * r - s if flip else 3 * r + s, i * lanes + lane] = w[r, s]
            for s in range(3):
                for e in range(line):
                    a, b, c = taps[s, e], taps[3 + s, e], taps[6 + s, e]
                    t[s, e], t[9 + s, e] = a, c
                    t[3 + s, e], t[6 + s, e] = ((a + c) + b) * half, ((a + c) - b) * half
            for r in range(4):
                rows = lines[r * 4 : r * 4 + 4, g, first * lanes : (first + _AT_ONCE) * lanes]
                for e in range(line):
                    a, b, c = t[3 * r, e], t[3 * r + 1, e], t[3 * r + 2, e]
                    rows[0, e], rows[3, e] = a, c
                    rows[1, e], rows[2, e] = ((a + c) + b) * half, ((a + c) - b) * half


@kernel
def weights_from_sums(sums: F32, out: F32) -> None:
    """Sums (position, k / lanes, c, lanes) to G' s G = dw (k, c, 3, 3); c is a multiple of 8."""
    _, groups, inner, lanes = sums.shape
    line = _AT_ONCE * lanes
    lines = sums.reshape(POSITIONS, groups, inner * lanes)
    taps, t = np.empty((9, line), np.float32), np.empty((12, line), np.float32)
    half = np.float32(0.5)
    for g in range(groups):
        for first in range(0, inner, _AT_ONCE):
            for j in range(4):
                rows = lines[j::4, g, first * lanes : (first + _AT_ONCE) * lanes]
                for e in range(line):
                    m0, m1, m2, m3 = rows[0, e], rows[1, e], rows[2, e], rows[3, e]
                    both, difference = (m1 + m2) * half, (m1 - m2) * half
                    t[j, e], t[4 + j, e], t[8 + j, e] = m0 + both, difference, both + m3
            for r in range(3):
                for e in range(line):
                    m0, m1, m2, m3 = t[4 * r, e], t[4 * r + 1, e], t[4 * r + 2, e], t[4 * r + 3, e]
                    both, difference = (m1 + m2) * half, (m1 - m2) * half
                    taps[3 * r, e], taps[3 * r + 1, e], taps[3 * r + 2, e] = m0 + both, difference, both + m3
            for i in range(_AT_ONCE):
                for lane in range(lanes):
                    for r in range(3):
                        for s in range(3):
                            out[g * lanes + lane, first + i, r, s] = taps[3 * r + s, i * lanes + lane]


@kernel
def convolve(
    x: F32, x_at: int, x_image: int, u: F32, y: F32, y_at: int, y_image: int,
    images: int, rows: int, columns: int, v: F32, m: F32, C: int, K: int, XROW: int, YROW: int,
) -> None:  # fmt: skip
    """y = x convolved with the weights from which u was made. Arguments in capitals are literals.

    x: `images` images of rows x columns tiles in a frame of zeros. v, m: scratch of (16 * (TILES * C + SPREAD),) and
    (16 * (TILES * K + SPREAD),) elements.
    """
    literally(C), literally(K), literally(XROW), literally(YROW)
    i, row, column = 0, 0, 0
    for first in range(0, images * rows * columns, TILES):
        count = min(TILES, images * rows * columns - first)
        i0, row0, column0 = i, row, column
        for tile in range(count):
            input_tile(x, x_at + i * x_image + 2 * (row * XROW + column * C), v, tile, C, XROW)
            column += 1
            if column == columns:
                row, column = row + 1, 0
                if row == rows:
                    i, row = i + 1, 0
        tile_products(v, u, m, C, K)
        i, row, column = i0, row0, column0
        for tile in range(count):
            output_tile(m, tile, y, y_at + i * y_image + 2 * (row * YROW + column * K), K, YROW)
            column += 1
            if column == columns:
                row, column = row + 1, 0
                if row == rows:
                    i, row = i + 1, 0


@kernel
def add_sums(
    x: F32, x_at: int, x_image: int, dy: F32, y_at: int, y_image: int, sums: F32,
    images: int, rows: int, columns: int, v: F32, d: F32, C: int, K: int, XROW: int, YROW: int,
) -> None:  # fmt: skip
    """sums (position, k / lanes, c, lanes) += the sixteen products, summed over all tiles. v, d: scratch."""
    literally(C), literally(K), literally(XROW), literally(YROW)
    i, row, column = 0, 0, 0
    for first in range(0, images * rows * columns, TILES):
        count = min(TILES, images * rows * columns - first)
        if count < TILES:
            v[:] = 0
            d[:] = 0
        for tile in range(count):
            input_tile(x, x_at + i * x_image + 2 * (row * XROW + column * C), v, tile, C, XROW)
            gradient_tile(dy, y_at + i * y_image + 2 * (row * YROW + column * K), d, tile, K, YROW)
            column += 1
            if column == columns:
                row, column = row + 1, 0
                if row == rows:
                    i, row = i + 1, 0
        tile_sums(v, d, sums, C, K)


@cache
def _sweep(C: int, K: int, XROW: int, YROW: int) -> Callable[..., None]:
    """`convolve` for one shape. It closes over plain ints: only then does Numba's cache work in another process."""

    @kernel
    def sweep(
        x: F32, x_image: int, u: F32, y: F32, y_image: int, images: int, rows: int, columns: int, v: F32, m: F32
    ) -> None:
        convolve(x, 0, x_image, u, y, 0, y_image, images, rows, columns, v, m, C, K, XROW, YROW)

    return sweep


@cache
def _sum_sweep(C: int, K: int, XROW: int, YROW: int) -> Callable[..., None]:
    """`add_sums` for one shape."""

    @kernel
    def sweep(
        x: F32, x_image: int, dy: F32, y_image: int, sums: F32, images: int, rows: int, columns: int, v: F32, d: F32
    ) -> None:
        add_sums(x, 0, x_image, dy, 0, y_image, sums, images, rows, columns, v, d, C, K, XROW, YROW)

    return sweep


def scratch(channels: int) -> F32:
    """Zeros with room for TILES transformed tiles of this many channels."""
    return aligned_zeros((POSITIONS * (TILES * channels + registers.SPREAD),))


def framed(x: F32, corner: tuple[int, int], size: tuple[int, int]) -> F32:
    """x (n, h, w, c) at `corner` of zeros (n, *size, c). Returns x itself if it already has this size and C order.

    In a frame of zeros a tap that reaches over the edge is an ordinary one.
    """
    n, h, w, c = x.shape
    if (h, w) == size:
        return np.ascontiguousarray(x)
    out = aligned_empty((n, *size, c))
    _embed(x, out, *corner)
    return out


@kernel
def _embed(x: F32, out: F32, top: int, left: int) -> None:
    """Copies x (n, h, w, c) into out (n, H, W, c) at (top, left); the rest becomes zero."""
    n, h, w, c = x.shape
    height = out.shape[1]
    for i in range(n):
        for row in range(height):
            if row < top or row >= top + h:
                out[i, row] = 0
                continue
            out[i, row, :left] = 0
            for q in range(w):
                for j in range(c):
                    out[i, row, left + q, j] = x[i, row - top, q, j]
            out[i, row, left + w :] = 0


def _even(x: F32, border: int) -> F32:
    """x (n, h, w, c) in a frame of zeros `border` wide, and one more row or column where that makes the side even."""
    _, h, w, _ = x.shape
    return framed(x, (border, border), (h + h % 2 + 2 * border, w + w % 2 + 2 * border))


def _convolve(x: F32, weights: F32, outputs: int, *, flip: bool) -> F32:
    n, h, w, c = x.shape
    halo = _even(x, 1)
    lanes = registers.lanes(outputs)
    u = aligned_empty((POSITIONS, outputs // lanes, c, lanes))
    transform_weights(weights, u, flip)
    y = aligned_empty((n, h + h % 2, w + w % 2, outputs))
    sweep = _sweep(c, outputs, halo.shape[2] * c, y.shape[2] * outputs)
    sweep(
        halo.reshape(-1), halo[0].size, u.reshape(-1), y.reshape(-1), y[0].size, n, y.shape[1] // 2, y.shape[2] // 2,
        scratch(c), scratch(outputs),
    )  # fmt: skip
    return y if y.shape[1:3] == (h, w) else np.ascontiguousarray(y[:, :h, :w])


def forward(x: F32, weights: F32) -> F32:
    """(n, h, w, c), (k, c, 3, 3) -> (n, h, w, k)."""
    return _convolve(x, weights, weights.shape[0], flip=False)


def input_gradient(dy: F32, weights: F32) -> F32:
    """(n, h, w, k), (k, c, 3, 3) -> (n, h, w, c)."""
    return _convolve(dy, weights, weights.shape[1], flip=True)


def weight_gradient(x: F32, dy: F32) -> F32:
    """(n, h, w, c), (n, h, w, k) -> (k, c, 3, 3); a sum over images and pixels."""
    n, _, _, c = x.shape
    k = dy.shape[3]
    halo, gradient = _even(x, 1), _even(dy, 0)
    lanes = registers.lanes(k)
    sums = aligned_zeros((POSITIONS, k // lanes, c, lanes))
    sweep = _sum_sweep(c, k, halo.shape[2] * c, gradient.shape[2] * k)
    sweep(
        halo.reshape(-1), halo[0].size, gradient.reshape(-1), gradient[0].size, sums.reshape(-1),
        n, gradient.shape[1] // 2, gradient.shape[2] // 2,
        scratch(c), scratch(k),
    )  # fmt: skip
    dw = np.empty((k, c, 3, 3), np.float32)
    weights_from_sums(sums, dw)
    return dw
