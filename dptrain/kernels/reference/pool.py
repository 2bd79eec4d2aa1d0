"""Pooling: the definition. Any float dtype, arrays (n, h, w, c)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dptrain.types import I64, Floats


class Window(NamedTuple):
    """Pairs are (rows, columns). A frame of `pad` pixels lies around the image; windows start on it, never beyond."""

    size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int] = (0, 0)
    ceil: bool = False  #: a last window that reaches beyond the frame counts, if it starts on the image or before it
    count_pad: bool = True  #: average: divide by the pixels of image and frame in the window; False: of the image alone

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        """Windows down and across. As torch.nn.MaxPool2d counts them."""
        return self._along(0, height), self._along(1, width)

    def _along(self, axis: int, length: int) -> int:
        stride, pad = self.stride[axis], self.pad[axis]
        room = length + 2 * pad - self.size[axis]
        count = (-(-room // stride) if self.ceil else room // stride) + 1
        return count - 1 if self.ceil and (count - 1) * stride >= length + pad else count


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


def _cells(window: Window, height: int, width: int) -> Iterator[tuple[int, int, slice, slice, int]]:
    """(row, column, rows and columns of the image it sees, what an average divides by) of every window."""
    (kh, kw), (sh, sw), (ph, pw) = window.size, window.stride, window.pad
    rows, columns = window.outputs(height, width)
    for p in range(rows):
        for q in range(columns):
            top, left = p * sh - ph, q * sw - pw
            seen_rows, seen_columns = (
                slice(max(top, 0), min(top + kh, height)),
                slice(max(left, 0), min(left + kw, width)),
            )
            if window.count_pad:
                count = (min(top + kh, height + ph) - top) * (min(left + kw, width + pw) - left)
            else:
                count = (seen_rows.stop - seen_rows.start) * (seen_columns.stop - seen_columns.start)
            yield p, q, seen_rows, seen_columns, count


def maximum(x: Floats, window: Window) -> tuple[Floats, I64]:
    """-> (y (n, p, q, c), place (n, p, q, c): row * width + column of the first largest pixel). NaN is the largest."""
    n, height, width, c = x.shape
    y = np.empty((n, *window.outputs(height, width), c), x.dtype)
    place = np.empty(y.shape, np.int64)
    for p, q, rows, columns, _ in _cells(window, height, width):
        seen = x[:, rows, columns].reshape(n, -1, c)
        first = seen.argmax(1)  # NumPy's argmax takes the first NaN, else the first maximum
        y[:, p, q] = np.take_along_axis(seen, first[:, None], 1)[:, 0]
        across = columns.stop - columns.start
        place[:, p, q] = (rows.start + first // across) * width + columns.start + first % across
    return y, place


def maximum_gradient(dy: Floats, place: I64, size: tuple[int, int]) -> Floats:
    """-> (n, h, w, c) with (h, w) = size: dy at the places, added up where windows overlap."""
    n, _, _, c = dy.shape
    dx = np.zeros((n, size[0] * size[1], c), dy.dtype)
    i, k = np.arange(n)[:, None, None, None], np.arange(c)
    np.add.at(dx, (i, place, k), dy)
    return dx.reshape(n, *size, c)


def average(x: Floats, window: Window) -> Floats:
    """-> (n, p, q, c); the frame counts as zeros, see Window.count_pad."""
    n, height, width, c = x.shape
    y = np.empty((n, *window.outputs(height, width), c), x.dtype)
    for p, q, rows, columns, count in _cells(window, height, width):
        y[:, p, q] = x[:, rows, columns].sum((1, 2)) / x.dtype.type(count)
    return y


def average_gradient(dy: Floats, window: Window, size: tuple[int, int]) -> Floats:
    """-> (n, h, w, c) with (h, w) = size; a full array, never a broadcast view."""
    dx = np.zeros((dy.shape[0], *size, dy.shape[3]), dy.dtype)
    for p, q, rows, columns, count in _cells(window, *size):
        dx[:, rows, columns] += (dy[:, p, q] / dy.dtype.type(count))[:, None, None]
    return dx
