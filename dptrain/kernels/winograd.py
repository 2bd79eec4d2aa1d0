"""3 x 3 convolution with stride 1 and pad 1 by Winograd's algorithms: fewer products than the direct kernels need.

F(2x2, 3x3) makes 16 products in place of 36, F(4x4, 3x3) 36 in place of 144. `tile` is 2 or 4. reference/winograd.py
has every rounding; the engine begins a new block of tiles with every group of images. F(2x2) is more exact than a
direct convolution, because its chains of sums are shorter; F(4x4) has about twice the error of one (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import literally

from dptrain.kernels.codegen import registers
from dptrain.kernels.codegen.registers import TILES
from dptrain.kernels.codegen.winograd import (
    GRADIENTS,
    INPUTS,
    OUTPUTS,
    SUMS,
    WEIGHTS,
    step,
    tile_products,
    tile_sums,
    transform,
)
from dptrain.kernels.compiled import aligned_empty, aligned_zeros, kernel
from dptrain.types import F32

#: Weights whose taps are gathered before they are transformed. For 64 x 64 filters, transform and its reverse take 79
#: and 72 us with 64 at a time, 114 and 104 with 32 (Intel Xeon, AVX-512); 128 would not stay in the first cache.
_AT_ONCE = 64


def fits(inputs: int, outputs: int, taps: tuple[int, int], stride: int, pad: int) -> bool:
    """Whether this file can compute such a convolution (and is then faster than the direct kernels)."""
    return taps == (3, 3) and stride == 1 and pad == 1 and inputs % 8 == 0 and outputs % 8 == 0


def choose(inputs: int, outputs: int, height: int, width: int, largest: int) -> int:
    """The tile for such channels and images, at most `largest`. It decides the bits, so it depends on nothing else.

    4 where that saves a fifth of the products, which the longer transforms cost: not for sides of 9 and 10, which are
    padded too much. And not where sums are so short that a direct convolution is much more exact: 8 channels (2.8 times
    the error of the outputs), sides below 7 (2.9 times that of a weight's gradient, 4 x 4 pixels; docs/LOG.md).
    """
    two, four = 16 * -(-height // 2) * -(-width // 2), 36 * -(-height // 4) * -(-width // 4)
    long = min(inputs, outputs) >= 16 and min(height, width) >= 7
    return 4 if largest == 4 and long and 5 * four <= 4 * two else 2


def positions(tile: int) -> int:
    """Products per tile and pair of channels."""
    return (tile + 2) ** 2


def transform_weights(weights: F32, out: F32, *, flip: bool) -> None:
    """Weights (k, c, 3, 3) to G w G' in blocks out (positions, k / lanes, c, lanes); c is a multiple of 8.

    flip: taps mirrored, and lanes run over c: the weights of an input gradient.
    """
    _packing(_tile(out))(weights, out, flip)


def weights_from_sums(sums: F32, out: F32) -> None:
    """Sums (positions, k / lanes, c, lanes) to G' s G = dw (k, c, 3, 3); c is a multiple of 8."""
    _unpacking(_tile(sums))(sums, out)


def _tile(packed: F32) -> int:
    return 2 if len(packed) == positions(2) else 4


@cache
def _packing(TILE: int) -> Callable[[F32, F32, bool], None]:
    """`transform_weights` for one size of tiles."""
    LINE, ROW, PLACES, STEP = _AT_ONCE, 3 * _AT_ONCE, positions(TILE), step(_AT_ONCE)

    @kernel
    def pack(weights: F32, out: F32, flip: bool) -> None:
        _, groups, inner, lanes = out.shape
        count = LINE // lanes
        lines = out.reshape(PLACES, groups, inner * lanes)
        taps, t = np.empty(3 * ROW, np.float32), np.empty(PLACES * STEP, np.float32)
        for g in range(groups):
            for first in range(0, inner, count):
                for i in range(count):
                    for lane in range(lanes):
                        o, at = g * lanes + lane, i * lanes + lane
                        w = weights[first + i, o] if flip else weights[o, first + i]
                        for r in range(3):
                            for s in range(3):
                                taps[(8 - 3 * r - s if flip else 3 * r + s) * LINE + at] = w[r, s]
                transform(taps, 0, t, 0, WEIGHTS, TILE, LINE, ROW)
                for p in range(PLACES):
                    lines[p, g, first * lanes : first * lanes + LINE] = t[p * STEP : p * STEP + LINE]

    return pack


@cache
def _unpacking(TILE: int) -> Callable[[F32, F32], None]:
    """`weights_from_sums` for one size of tiles."""
    LINE, ROW, PLACES, STEP = _AT_ONCE, 3 * _AT_ONCE, positions(TILE), step(_AT_ONCE)

    @kernel
    def unpack(sums: F32, out: F32) -> None:
        _, groups, inner, lanes = sums.shape
        count = LINE // lanes
        lines = sums.reshape(PLACES, groups, inner * lanes)
        taps, t = np.empty(3 * ROW, np.float32), np.empty(PLACES * STEP, np.float32)
        for g in range(groups):
            for first in range(0, inner, count):
                for p in range(PLACES):
                    t[p * STEP : p * STEP + LINE] = lines[p, g, first * lanes : first * lanes + LINE]
                transform(taps, 0, t, 0, SUMS, TILE, LINE, ROW)
                for i in range(count):
                    for lane in range(lanes):
                        for r in range(3):
                            for s in range(3):
                                out[g * lanes + lane, first + i, r, s] = taps[(3 * r + s) * LINE + i * lanes + lane]

    return unpack


@kernel
def convolve(
    x: F32, x_at: int, x_image: int, u: F32, y: F32, y_at: int, y_image: int,
    images: int, rows: int, columns: int, v: F32, m: F32, TILE: int, C: int, K: int, XROW: int, YROW: int,
) -> None:  # fmt: skip
    """y = x convolved with the weights from which u was made. Arguments in capitals are literals.

    x: `images` images of rows x columns tiles in a frame of zeros. v, m: scratch for C and for K channels.
    """
    literally(TILE), literally(C), literally(K), literally(XROW), literally(YROW)
    i, row, column = 0, 0, 0
    for first in range(0, images * rows * columns, TILES):
        count = min(TILES, images * rows * columns - first)
        i0, row0, column0 = i, row, column
        for tile in range(count):
            at = x_at + i * x_image + TILE * (row * XROW + column * C)
            transform(x, at, v, tile * C, INPUTS, TILE, C, XROW)
            column += 1
            if column == columns:
                row, column = row + 1, 0
                if row == rows:
                    i, row = i + 1, 0
        tile_products(v, u, m, TILE, C, K)
        i, row, column = i0, row0, column0
        for tile in range(count):
            at = y_at + i * y_image + TILE * (row * YROW + column * K)
            transform(y, at, m, tile * K, OUTPUTS, TILE, K, YROW)
            column += 1
            if column == columns:
                row, column = row + 1, 0
                if row == rows:
                    i, row = i + 1, 0


@kernel
def add_sums(
    x: F32, x_at: int, x_image: int, dy: F32, y_at: int, y_image: int, sums: F32,
    images: int, rows: int, columns: int, v: F32, d: F32, TILE: int, C: int, K: int, XROW: int, YROW: int,
) -> None:  # fmt: skip
    """sums (positions, k / lanes, c, lanes) += the products of every position, over all tiles. v, d: scratch."""
    literally(TILE), literally(C), literally(K), literally(XROW), literally(YROW)
    i, row, column = 0, 0, 0
    for first in range(0, images * rows * columns, TILES):
        count = min(TILES, images * rows * columns - first)
        if count < TILES:
            v[:] = 0
            d[:] = 0
        for tile in range(count):
            at = x_at + i * x_image + TILE * (row * XROW + column * C)
            transform(x, at, v, tile * C, INPUTS, TILE, C, XROW)
            at = y_at + i * y_image + TILE * (row * YROW + column * K)
            transform(dy, at, d, tile * K, GRADIENTS, TILE, K, YROW)
            column += 1
            if column == columns:
                row, column = row + 1, 0
                if row == rows:
                    i, row = i + 1, 0
        tile_sums(v, d, sums, TILE, C, K)


@cache
def tiled(TILE: int, C: int, K: int, XROW: int, YROW: int) -> Callable[..., None]:
    """`convolve` for one shape. It closes over plain ints: only then does Numba's cache work in another process."""

    @kernel
    def sweep(
        x: F32, x_image: int, u: F32, y: F32, y_image: int, images: int, rows: int, columns: int, v: F32, m: F32
    ) -> None:
        convolve(x, 0, x_image, u, y, 0, y_image, images, rows, columns, v, m, TILE, C, K, XROW, YROW)

    return sweep


@cache
def tiled_sums(TILE: int, C: int, K: int, XROW: int, YROW: int) -> Callable[..., None]:
    """`add_sums` for one shape."""

    @kernel
    def sweep(
        x: F32, x_image: int, dy: F32, y_image: int, sums: F32, images: int, rows: int, columns: int, v: F32, d: F32
    ) -> None:
        add_sums(x, 0, x_image, dy, 0, y_image, sums, images, rows, columns, v, d, TILE, C, K, XROW, YROW)

    return sweep


def scratch(channels: int, tile: int) -> F32:
    """Zeros with room for TILES transformed tiles of this many channels."""
    return aligned_zeros((positions(tile) * step(channels),))


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


def _rounded(x: F32, tile: int, border: int) -> F32:
    """x (n, h, w, c) in a frame of zeros `border` wide, and as many more rows and columns as whole tiles need."""
    _, h, w, _ = x.shape
    return framed(x, (border, border), (h - h % -tile + 2 * border, w - w % -tile + 2 * border))


def _convolve(x: F32, weights: F32, outputs: int, tile: int, *, flip: bool) -> F32:
    n, h, w, c = x.shape
    halo = _rounded(x, tile, 1)
    lanes = registers.lanes(outputs)
    u = aligned_empty((positions(tile), outputs // lanes, c, lanes))
    transform_weights(weights, u, flip=flip)
    y = aligned_empty((n, halo.shape[1] - 2, halo.shape[2] - 2, outputs))
    sweep = tiled(tile, c, outputs, halo.shape[2] * c, y.shape[2] * outputs)
    sweep(
        halo.reshape(-1), halo[0].size, u.reshape(-1), y.reshape(-1), y[0].size,
        n, y.shape[1] // tile, y.shape[2] // tile, scratch(c, tile), scratch(outputs, tile),
    )  # fmt: skip
    return y if y.shape[1:3] == (h, w) else np.ascontiguousarray(y[:, :h, :w])


def forward(x: F32, weights: F32, tile: int) -> F32:
    """(n, h, w, c), (k, c, 3, 3) -> (n, h, w, k)."""
    return _convolve(x, weights, weights.shape[0], tile, flip=False)


def input_gradient(dy: F32, weights: F32, tile: int) -> F32:
    """(n, h, w, k), (k, c, 3, 3) -> (n, h, w, c)."""
    return _convolve(dy, weights, weights.shape[1], tile, flip=True)


def weight_gradient(x: F32, dy: F32, tile: int) -> F32:
    """(n, h, w, c), (n, h, w, k) -> (k, c, 3, 3); a sum over images and pixels."""
    n, _, _, c = x.shape
    k = dy.shape[3]
    halo, gradient = _rounded(x, tile, 1), _rounded(dy, tile, 0)
    lanes = registers.lanes(k)
    sums = aligned_zeros((positions(tile), k // lanes, c, lanes))
    sweep = tiled_sums(tile, c, k, halo.shape[2] * c, gradient.shape[2] * k)
    sweep(
        halo.reshape(-1), halo[0].size, gradient.reshape(-1), gradient[0].size, sums.reshape(-1),
        n, gradient.shape[1] // tile, gradient.shape[2] // tile, scratch(c, tile), scratch(k, tile),
    )  # fmt: skip
    dw = np.empty((k, c, 3, 3), np.float32)
    weights_from_sums(sums, dw)
    return dw
