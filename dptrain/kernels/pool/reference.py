"""Pooling in NumPy: the definition of correct. Any float dtype, (n, h, w, c)."""

from __future__ import annotations

import numpy as np

from dptrain.types import Floats


def global_average(x: Floats) -> Floats:
    """(n, h, w, c) -> (n, c), the mean over an image."""
    means: Floats = x.mean((1, 2))
    return means


def global_average_gradient(dy: Floats, size: tuple[int, int]) -> Floats:
    """(n, c) -> (n, h, w, c) with (h, w) = size; a full array, never a broadcast view."""
    n, c = dy.shape
    share = dy / dy.dtype.type(size[0] * size[1])
    return np.ascontiguousarray(np.broadcast_to(share[:, None, None, :], (n, *size, c)))


def average2(x: Floats) -> Floats:
    """(n, h, w, c) with even h, w -> (n, h/2, w/2, c), the mean of 2 x 2 pixels."""
    total = (x[:, ::2, ::2] + x[:, ::2, 1::2]) + (x[:, 1::2, ::2] + x[:, 1::2, 1::2])
    return total * x.dtype.type(0.25)


def average2_gradient(dy: Floats) -> Floats:
    """(n, p, q, c) -> (n, 2p, 2q, c)."""
    return np.repeat(np.repeat(dy * dy.dtype.type(0.25), 2, axis=1), 2, axis=2)
