"""Winograd's 3 x 3 convolution with stride 1 and pad 1 in float32: every rounding of its compiled twin, in NumPy.

A tile has `tile` x `tile` outputs, 2 or 4. Its inputs are `tile` + 2 pixels wide, and so are its transforms: their
places are called positions. Sides that are no multiple of `tile` end in zeros.

Order of additions. Outputs: per position, input channel after input channel, one fma each, from zero; then the
transform. Weight gradient: tiles in order (image, row, column) in blocks of 16, the last block filled with zeros;
within a block tile after tile, one fma each, from zero; then the sums of the blocks in order, from zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dptrain.kernels.reference import fma
from dptrain.types import F32

#: Positive points of F(4x4, 3x3), and their powers: exact in float32. The others are 0, -A1, -B1 and infinity.
A1, B1 = 5 / 8, 3 / 2
A2, A3, B2, B3 = A1**2, A1**3, B1**2, B1**3
#: What the matrix G has for the points 0, A1 and B1: powers over the product of the distances to the other points.
G0 = float(np.float32(1 / (A2 * B2)))
GA = tuple(float(np.float32(power / (2 * A2 * (A2 - B2)))) for power in (1, A1, A2))
GB = tuple(float(np.float32(power / (2 * B2 * (B2 - A2)))) for power in (1, B1, B2))

_BLOCK = 16
_Line = Sequence[F32]
_Transform = Callable[..., _Line]


def forward(x: F32, weights: F32, tile: int) -> F32:
    """(n, h, w, c), (k, c, 3, 3) -> (n, h, w, k)."""
    n, h, w, _ = x.shape
    of_inputs, of_products, _, of_weights, _ = _TRANSFORMS[tile]
    v, u = _both_ways(of_inputs, _tiles(x, tile, 1)), _both_ways(of_weights, np.transpose(weights, (2, 3, 0, 1)))
    m = np.zeros((*v.shape[:3], len(weights)), np.float32)
    for c in range(x.shape[3]):
        m = fma(v[..., c, None], u[:, :, None, :, c], m)
    rows, columns = -(-h // tile), -(-w // tile)
    y = _both_ways(of_products, m).reshape(tile, tile, n, rows, columns, -1)
    return np.transpose(y, (2, 3, 0, 4, 1, 5)).reshape(n, tile * rows, tile * columns, -1)[:, :h, :w]


def input_gradient(dy: F32, weights: F32, tile: int) -> F32:
    """(n, h, w, k), (k, c, 3, 3) -> (n, h, w, c)."""
    return forward(dy, np.swapaxes(weights, 0, 1)[:, :, ::-1, ::-1], tile)


def weight_gradient(x: F32, dy: F32, tile: int) -> F32:
    """(n, h, w, c), (n, h, w, k) -> (k, c, 3, 3); a sum over images and pixels."""
    of_inputs, _, of_gradients, _, of_sums = _TRANSFORMS[tile]
    v, d = _both_ways(of_inputs, _tiles(x, tile, 1)), _both_ways(of_gradients, _tiles(dy, tile, 0))
    sums = np.zeros((*v.shape[:2], dy.shape[3], x.shape[3]), np.float32)
    for first in range(0, v.shape[2], _BLOCK):
        block = np.zeros_like(sums)
        for i in range(first, min(first + _BLOCK, v.shape[2])):
            block = fma(v[:, :, i, None, :], d[:, :, i, :, None], block)
        sums += block
    return np.transpose(_both_ways(of_sums, sums), (2, 3, 0, 1))


def _both_ways(transform: _Transform, square: F32) -> F32:
    """(rows, columns, ...): down every column, then along every row."""
    down = np.stack(transform(*square))
    return np.stack(transform(*np.moveaxis(down, 1, 0)), axis=1)


def _tiles(x: F32, tile: int, border: int) -> F32:
    """x (n, h, w, c) -> (side, side, tiles, c) with side = tile + 2 border."""
    n, h, w, _ = x.shape
    frame = np.pad(x, ((0, 0), (border, border - h % -tile), (border, border - w % -tile), (0, 0)))
    corners = [(i, r, s) for i in range(n) for r in range(0, h, tile) for s in range(0, w, tile)]
    side = tile + 2 * border
    return np.stack([frame[i, r : r + side, s : s + side] for i, r, s in corners], axis=2)


# --- the transforms of one row or column


def _inputs2(a: F32, b: F32, c: F32, d: F32) -> _Line:
    return a - c, b + c, c - b, b - d


def _products2(a: F32, b: F32, c: F32, d: F32) -> _Line:
    return (a + b) + c, (b - c) - d


def _gradients2(a: F32, b: F32) -> _Line:
    return a, a + b, a - b, -b


def _weights2(a: F32, b: F32, c: F32) -> _Line:
    half = np.float32(0.5)
    return a, ((a + c) + b) * half, ((a + c) - b) * half, c


def _sums2(a: F32, b: F32, c: F32, d: F32) -> _Line:
    both, difference = (b + c) * np.float32(0.5), (b - c) * np.float32(0.5)
    return a + both, difference, both + d


def _times(k: float, x: F32, y: F32) -> F32:
    """k * x + y for a constant k, rounded once."""
    return fma(np.full_like(x, k), x, y)


def _at_both(even_a: F32, odd_a: F32, even_b: F32, odd_b: F32) -> _Line:
    """Values at the points A1, -A1, B1, -B1 of polynomials with these even and odd parts."""
    return _times(A1, odd_a, even_a), _times(-A1, odd_a, even_a), _times(B1, odd_b, even_b), _times(-B1, odd_b, even_b)


def _inputs4(a: F32, b: F32, c: F32, d: F32, e: F32, f: F32) -> _Line:
    first = _times(A2 * B2, a, _times(-(A2 + B2), c, e))
    last = _times(A2 * B2, b, _times(-(A2 + B2), d, f))
    return first, *_at_both(_times(-B2, c, e), _times(-B2, b, d), _times(-A2, c, e), _times(-A2, b, d)), last


def _products4(a: F32, b: F32, c: F32, d: F32, e: F32, f: F32) -> _Line:
    even_a, odd_a, even_b, odd_b = b + c, b - c, d + e, d - e
    return (
        (a + even_a) + even_b,
        _times(B1, odd_b, odd_a * np.float32(A1)),
        _times(B2, even_b, even_a * np.float32(A2)),
        _times(B3, odd_b, _times(A3, odd_a, f)),
    )


def _gradients4(a: F32, b: F32, c: F32, d: F32) -> _Line:
    return a, *_at_both(_times(A2, c, a), _times(A2, d, b), _times(B2, c, a), _times(B2, d, b)), d


def _weights4(a: F32, b: F32, c: F32) -> _Line:
    ends_a, ends_b = _times(GA[2], c, a * np.float32(GA[0])), _times(GB[2], c, a * np.float32(GB[0]))
    at_a, at_b = (
        (_times(GA[1], b, ends_a), _times(-GA[1], b, ends_a)),
        (_times(GB[1], b, ends_b), _times(-GB[1], b, ends_b)),
    )
    return a * np.float32(G0), *at_a, *at_b, c


def _sums4(a: F32, b: F32, c: F32, d: F32, e: F32, f: F32) -> _Line:
    even_a, odd_a, even_b, odd_b = b + c, b - c, d + e, d - e
    return (
        _times(GB[0], even_b, _times(GA[0], even_a, a * np.float32(G0))),
        _times(GB[1], odd_b, odd_a * np.float32(GA[1])),
        _times(GB[2], even_b, _times(GA[2], even_a, f)),
    )


_TRANSFORMS: dict[int, tuple[_Transform, ...]] = {
    2: (_inputs2, _products2, _gradients2, _weights2, _sums2),
    4: (_inputs4, _products4, _gradients4, _weights4, _sums4),
}
