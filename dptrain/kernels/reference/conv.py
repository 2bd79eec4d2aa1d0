"""Convolution (cross-correlation): the definition. Any float dtype; the order of additions is not defined here.

x (n, h, w, c), weights (k, c, r, s), y (n, p, q, k); p = (h + 2 pad - r) // stride + 1. dy has the shape of y.
`tile`: of Winograd's algorithm in the compiled twin, at most; 0: none. It decides roundings, so it does nothing here.
"""

from __future__ import annotations

import numpy as np

from dptrain.types import Floats


def forward(x: Floats, weights: Floats, stride: int, pad: int, tile: int) -> Floats:
    """(n, h, w, c), (k, c, r, s) -> (n, p, q, k)."""
    k, _, r_taps, s_taps = weights.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    n, height, width, _ = padded.shape
    p, q = (height - r_taps) // stride + 1, (width - s_taps) // stride + 1
    y = np.zeros((n, p, q, k), x.dtype)
    for r in range(r_taps):
        for s in range(s_taps):
            y += padded[:, r : r + stride * p : stride, s : s + stride * q : stride] @ weights[:, :, r, s].T
    return y


def input_gradient(dy: Floats, weights: Floats, size: tuple[int, int], stride: int, pad: int, tile: int) -> Floats:
    """(n, p, q, k), (k, c, r, s) -> (n, h, w, c) with (h, w) = size."""
    n, p, q, _ = dy.shape
    _, c, r_taps, s_taps = weights.shape
    padded = np.zeros((n, size[0] + 2 * pad, size[1] + 2 * pad, c), dy.dtype)
    for r in range(r_taps):
        for s in range(s_taps):
            padded[:, r : r + stride * p : stride, s : s + stride * q : stride] += dy @ weights[:, :, r, s]
    return np.ascontiguousarray(padded[:, pad : pad + size[0], pad : pad + size[1]])


def weight_gradient(x: Floats, dy: Floats, taps: tuple[int, int], stride: int, pad: int, tile: int) -> Floats:
    """(n, h, w, c), (n, p, q, k) -> (k, c, r, s) with (r, s) = taps; a sum over images and pixels."""
    _, p, q, k = dy.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dw = np.zeros((k, x.shape[3], *taps), x.dtype)
    flat = dy.reshape(-1, k)
    for r in range(taps[0]):
        for s in range(taps[1]):
            seen = padded[:, r : r + stride * p : stride, s : s + stride * q : stride]
            dw[:, :, r, s] = flat.T @ seen.reshape(-1, x.shape[3])
    return dw
