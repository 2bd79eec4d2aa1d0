"""Small moves on images (n, h, w, c) that several layers make: frames, gaps, sums over all but the channels."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from dptrain.kernels import norm
from dptrain.types import Floats

Pair: TypeAlias = tuple[int, int]  #: rows, columns


def pair(value: int | Pair) -> Pair:
    """One number for both axes, or one each."""
    return (value, value) if isinstance(value, int) else value


def framed(x: Floats, frame: Pair) -> Floats:
    """With `frame` rows and columns of zeros on each side."""
    if frame == (0, 0):
        return x
    n, h, w, c = x.shape
    out = np.zeros((n, h + 2 * frame[0], w + 2 * frame[1], c), x.dtype)
    out[:, frame[0] : frame[0] + h, frame[1] : frame[1] + w] = x
    return out


def cropped(x: Floats, frame: Pair) -> Floats:
    """Without `frame` rows and columns on each side, C order."""
    if frame == (0, 0):
        return x
    return np.ascontiguousarray(x[:, frame[0] : x.shape[1] - frame[0], frame[1] : x.shape[2] - frame[1]])


def dilated(dy: Floats, keep: Pair, size: tuple[int, ...]) -> Floats:
    """`dy` at every `keep[0]`-th row and `keep[1]`-th column of an image of `size`, zeros between."""
    if keep == (1, 1):
        return dy
    out = np.zeros((dy.shape[0], *size, dy.shape[3]), dy.dtype)
    out[:, :: keep[0], :: keep[1]] = dy
    return out


def channel_sums(dy: Floats) -> Floats:
    """(n, ..., c) -> (c,), float64, in the order the norm kernels add."""
    flat = dy.reshape(dy.shape[0], -1, dy.shape[-1])
    return norm.reductions(flat, flat, np.zeros(flat.shape[2], flat.dtype))[0]
