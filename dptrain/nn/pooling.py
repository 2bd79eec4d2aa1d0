"""Layers that change the size of images: pooling, up-sampling, and padding by a constant, reflection or repetition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.kernels import pool
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Pair, Run, pair
from dptrain.types import I64, Floats


@dataclass(frozen=True, slots=True)
class GlobalAverage:
    """(n, h, w, c) -> (n, c)."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        size = (x.shape[1], x.shape[2])
        return pool.global_average(x), lambda dy, gradients: pool.global_average_gradient(dy, size)


@dataclass(frozen=True, slots=True)
class MaxPooling:
    """(n, h, w, c) -> (n, p, q, c): the largest pixel of each window. Of equal pixels the first gets the gradient.

    Size, stride (0: the size) and pad are one number, or a pair (rows, columns); `ceil`: see kernels.pool.Window.
    """

    size: int | Pair = 2
    stride: int | Pair = 0
    pad: int | Pair = 0
    ceil: bool = False
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        y, place = pool.maximum(x, _window(self.size, self.stride, self.pad, x, ceil=self.ceil))
        size = (x.shape[1], x.shape[2])
        return y, lambda dy, gradients: pool.maximum_gradient(dy, place, size)


@dataclass(frozen=True, slots=True)
class AveragePooling:
    """(n, h, w, c) -> (n, p, q, c): the mean of each window. Arguments as for MaxPooling.

    `count_pad`: the zeros of the frame count in the mean. False: the mean is over the pixels of the image alone.
    """

    size: int | Pair = 2
    stride: int | Pair = 0
    pad: int | Pair = 0
    ceil: bool = False
    count_pad: bool = True
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        windows = _window(self.size, self.stride, self.pad, x, ceil=self.ceil)._replace(count_pad=self.count_pad)
        size = (x.shape[1], x.shape[2])
        return pool.average(x, windows), lambda dy, gradients: pool.average_gradient(dy, windows, size)


def _window(size: int | Pair, stride: int | Pair, pad: int | Pair, x: Floats, *, ceil: bool) -> pool.Window:
    """Raises ValueError for windows that do not fit the image."""
    made = pool.Window(pair(size), pair(stride or size), pair(pad), ceil)
    for axis, length in enumerate(x.shape[1:3]):
        if 2 * made.pad[axis] > made.size[axis]:
            raise ValueError(f"pad {made.pad} is more than half of the window {made.size}: some would see no pixel")
        if length + 2 * made.pad[axis] < made.size[axis]:
            raise ValueError(f"a window of {made.size} does not fit an image of {x.shape[1:3]} with pad {made.pad}")
    return made


@dataclass(frozen=True, slots=True)
class UpSampling:
    """(n, h, w, c) -> (n, scale h, scale w, c): every pixel becomes a square of scale x scale pixels."""

    scale: int
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            dx = np.zeros(x.shape, dy.dtype)
            for i in range(self.scale):
                for j in range(self.scale):
                    dx += dy[:, i :: self.scale, j :: self.scale]
            return dx

        return np.repeat(np.repeat(x, self.scale, axis=1), self.scale, axis=2), backward


@dataclass(frozen=True, slots=True)
class Padding:
    """Adds `before` and `after` entries of `value` along `axis` (axis 0 is the image)."""

    axis: int
    before: int = 0
    after: int = 0
    value: float = 0.0
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        shape, axis = list(x.shape), self.axis % x.ndim
        shape[axis] += self.before + self.after
        own = (slice(None),) * axis + (slice(self.before, self.before + x.shape[axis]),)
        y = np.full(shape, self.value, x.dtype)
        y[own] = x
        return y, lambda dy, gradients: np.ascontiguousarray(dy[own])


@dataclass(frozen=True, slots=True)
class _Sides:
    """Rows or columns to add on each side of an image."""

    left: int
    right: int
    top: int
    bottom: int
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class ReflectionPadding(_Sides):
    """(n, h, w, c) with rows and columns mirrored at the edge, which is not repeated: d c b | a b c d | c b a."""

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        _, h, w, _ = x.shape
        if max(self.top, self.bottom) >= h or max(self.left, self.right) >= w:
            raise ValueError(f"a reflection of {self} needs an image of more rows and columns than {h}x{w}")
        rows = np.abs(np.arange(-self.top, h + self.bottom))
        columns = np.abs(np.arange(-self.left, w + self.right))
        return _taken(x, np.minimum(rows, 2 * (h - 1) - rows), np.minimum(columns, 2 * (w - 1) - columns))


@dataclass(frozen=True, slots=True)
class ReplicationPadding(_Sides):
    """(n, h, w, c) with its edge repeated: a a a | a b c d | d d d."""

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        _, h, w, _ = x.shape
        rows = np.clip(np.arange(-self.top, h + self.bottom), 0, h - 1)
        return _taken(x, rows, np.clip(np.arange(-self.left, w + self.right), 0, w - 1))


def _taken(x: Floats, rows: I64, columns: I64) -> tuple[Floats, Backward]:
    """Rows and columns of x by number, some more than once. Their gradients are added from the first to the last."""

    def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
        across = np.zeros((*dy.shape[:2], *x.shape[2:]), dy.dtype)
        for at, column in enumerate(columns):
            across[:, :, column] += dy[:, :, at]
        dx = np.zeros(x.shape, dy.dtype)
        for at, row in enumerate(rows):
            dx[:, row] += across[:, at]
        return dx

    return np.ascontiguousarray(x[:, rows][:, :, columns]), backward
