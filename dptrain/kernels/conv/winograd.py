"""3 x 3 convolution, stride 1, pad 1, by Winograd's F(2x2, 3x3): 16 products where the direct way has 36.

Measured beside the direct kernels in docs/LOG.md: 1.3 to 2 times as fast, and no less exact (shorter chains of sums).

Order of additions. Output: per tile position, input channel after input channel, one fma each, from zero; then the tile
transforms of intrinsics/winograd.py. Weight gradient: tiles in order (image, row, column) in blocks of a size that
depends on the channels only; within a block tile after tile, one fma each, from zero; the blocks' sums in order, from
zero.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from dptrain.kernels import aligned
from dptrain.kernels._jit import kernel
from dptrain.kernels.conv import plan
from dptrain.kernels.conv.halo import framed
from dptrain.kernels.intrinsics.correlate import correlate_block, outer_block
from dptrain.kernels.intrinsics.winograd import gradient_tile, input_tile, output_tile
from dptrain.types import F32

POSITIONS = 16


def fits(inputs: int, outputs: int, taps: tuple[int, int], stride: int, pad: int) -> bool:
    """Whether this module can do it, and does it faster than the direct kernels."""
    return taps == (3, 3) and stride == 1 and pad == 1 and inputs % 8 == 0 and outputs % 8 == 0


@kernel
def transform_weights(weights: F32, out: F32, flip: bool) -> None:  # noqa: FBT001
    """Weights (k, c, 3, 3) to G w G' in blocks out (position, k / lanes, c, lanes).

    flip: taps mirrored, and lanes run over c: the weights of an input gradient.
    """
    _, groups, inner, lanes = out.shape
    t = np.empty((4, 3), np.float32)
    half = np.float32(0.5)
    for g in range(groups):
        for i in range(inner):
            for lane in range(lanes):
                o = g * lanes + lane
                w = weights[i, o] if flip else weights[o, i]
                for s in range(3):
                    a, b, c = w[0, s], w[1, s], w[2, s]
                    if flip:
                        a, c = c, a
                    t[0, s], t[1, s], t[2, s], t[3, s] = a, ((a + c) + b) * half, ((a + c) - b) * half, c
                for r in range(4):
                    a, b, c = t[r, 0], t[r, 1], t[r, 2]
                    if flip:
                        a, c = c, a
                    out[r * 4, g, i, lane] = a
                    out[r * 4 + 1, g, i, lane] = ((a + c) + b) * half
                    out[r * 4 + 2, g, i, lane] = ((a + c) - b) * half
                    out[r * 4 + 3, g, i, lane] = c


@kernel
def _weights_from_sums(sums: F32, out: F32) -> None:
    """Sums (position, k / lanes, c, lanes) to G' s G = dw (k, c, 3, 3)."""
    k, c = out.shape[:2]
    lanes = sums.shape[3]
    t = np.empty((3, 4), np.float32)
    half = np.float32(0.5)
    for o in range(k):
        g, lane = o // lanes, o % lanes
        for i in range(c):
            for j in range(4):
                m0, m1 = sums[j, g, i, lane], sums[4 + j, g, i, lane]
                m2, m3 = sums[8 + j, g, i, lane], sums[12 + j, g, i, lane]
                both, difference = (m1 + m2) * half, (m1 - m2) * half
                t[0, j], t[1, j], t[2, j] = m0 + both, difference, both + m3
            for r in range(3):
                both, difference = (t[r, 1] + t[r, 2]) * half, (t[r, 1] - t[r, 2]) * half
                out[o, i, r, 0], out[o, i, r, 1], out[o, i, r, 2] = t[r, 0] + both, difference, both + t[r, 3]


@cache
def _sweep(C: int, K: int, XROW: int, YROW: int) -> Callable[..., None]:
    """Convolves n images of rows x columns tiles; compiled for the shape."""
    TILES = plan.winograd_tiles(C)
    XLANES, LANES = plan.lanes(C), plan.lanes(K)
    BLOCKS, PIXELS = plan.winograd_blocks(K)
    GROUPS = K // LANES // BLOCKS
    VPOS, MPOS, UPOS, USTEP = TILES * C, TILES * K, C * K, BLOCKS * C * LANES
    XSTEP, ZERO, ONE = C, 0, 1

    @kernel
    def sweep(  # noqa: PLR0913
        x: F32, x_image: int, u: F32, y: F32, y_image: int, n: int, rows: int, columns: int, v: F32, m: F32
    ) -> None:
        i, row, column = 0, 0, 0
        for first in range(0, n * rows * columns, TILES):
            count = min(TILES, n * rows * columns - first)
            i0, row0, column0 = i, row, column
            for t in range(count):
                x_at = i * x_image + 2 * row * XROW + 2 * column * C
                for c in range(0, C, XLANES):
                    input_tile(x, x_at + c, v, t * C + c, XROW, XSTEP, VPOS, XLANES)
                column += 1
                if column == columns:
                    row, column = row + 1, 0
                    if row == rows:
                        i, row = i + 1, 0
            for position in range(POSITIONS):
                for g in range(GROUPS):
                    u_at = position * UPOS + g * USTEP
                    m_at = position * MPOS + g * BLOCKS * LANES
                    for t in range(0, TILES, PIXELS):
                        correlate_block(
                            v, position * VPOS + t * C, u, u_at, m, m_at + t * K,
                            C, ONE, ONE, ZERO, C, K, LANES, PIXELS, BLOCKS,
                        )  # fmt: skip
            i, row, column = i0, row0, column0
            for t in range(count):
                y_at = i * y_image + 2 * row * YROW + 2 * column * K
                for k in range(0, K, LANES):
                    output_tile(m, t * K + k, y, y_at + k, MPOS, YROW, K, LANES)
                column += 1
                if column == columns:
                    row, column = row + 1, 0
                    if row == rows:
                        i, row = i + 1, 0

    return sweep


@cache
def _outer_sweep(C: int, K: int, XROW: int, YROW: int) -> Callable[..., None]:
    """Adds the sixteen products' sums over all tiles to sums (position, k / lanes, c, lanes); compiled for a shape."""
    TILES = plan.winograd_sum_tiles(C, K)
    XLANES, LANES = plan.lanes(C), plan.lanes(K)
    CHANNELS = plan.winograd_channels(C)
    VPOS, DPOS, SPOS = TILES * C, TILES * K, C * K
    ZERO, ONE = 0, 1

    @kernel
    def sweep(  # noqa: PLR0913
        x: F32, x_image: int, dy: F32, y_image: int, sums: F32, n: int, rows: int, columns: int, v: F32, d: F32
    ) -> None:
        i, row, column = 0, 0, 0
        for first in range(0, n * rows * columns, TILES):
            count = min(TILES, n * rows * columns - first)
            if count < TILES:
                v[:] = 0
                d[:] = 0
            for t in range(count):
                x_at = i * x_image + 2 * row * XROW + 2 * column * C
                y_at = i * y_image + 2 * row * YROW + 2 * column * K
                for c in range(0, C, XLANES):
                    input_tile(x, x_at + c, v, t * C + c, XROW, C, VPOS, XLANES)
                for k in range(0, K, LANES):
                    gradient_tile(dy, y_at + k, d, t * K + k, YROW, K, DPOS, LANES)
                column += 1
                if column == columns:
                    row, column = row + 1, 0
                    if row == rows:
                        i, row = i + 1, 0
            for position in range(POSITIONS):
                for k in range(0, K, LANES):
                    for c in range(0, C, CHANNELS):
                        outer_block(
                            v, position * VPOS + c, d, position * DPOS + k, sums, position * SPOS + k * C + c * LANES,
                            1, C, ONE, ZERO, C, ZERO, K, TILES, LANES, CHANNELS,
                        )  # fmt: skip

    return sweep


def _even(x: F32, border: int) -> F32:
    """x (n, h, w, c) in zeros: `border` before, and after as many as make both sides even."""
    _, h, w, _ = x.shape
    return framed(x, (border, border), (h + h % 2 + 2 * border, w + w % 2 + 2 * border))


def _convolve(x: F32, weights: F32, outputs: int, *, flip: bool) -> F32:
    n, h, w, c = x.shape
    halo = _even(x, 1)
    lanes = plan.lanes(outputs)
    u = aligned.empty((POSITIONS, outputs // lanes, c, lanes))
    transform_weights(weights, u, flip)
    y = aligned.empty((n, h + h % 2, w + w % 2, outputs))
    tiles = plan.winograd_tiles(c)
    sweep = _sweep(c, outputs, halo.shape[2] * c, y.shape[2] * outputs)
    sweep(
        halo.reshape(-1), halo[0].size, u.reshape(-1), y.reshape(-1), y[0].size, n, y.shape[1] // 2, y.shape[2] // 2,
        aligned.zeros((POSITIONS * tiles * c,)), aligned.empty((POSITIONS * tiles * outputs,)),
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
    lanes, tiles = plan.lanes(k), plan.winograd_sum_tiles(c, k)
    sums = aligned.zeros((POSITIONS, k // lanes, c, lanes))
    sweep = _outer_sweep(c, k, halo.shape[2] * c, gradient.shape[2] * k)
    sweep(
        halo.reshape(-1), halo[0].size, gradient.reshape(-1), gradient[0].size, sums.reshape(-1),
        n, gradient.shape[1] // 2, gradient.shape[2] // 2,
        aligned.empty((POSITIONS * tiles * c,)), aligned.empty((POSITIONS * tiles * k,)),
    )  # fmt: skip
    dw = np.empty((k, c, 3, 3), np.float32)
    _weights_from_sums(sums, dw)
    return dw
