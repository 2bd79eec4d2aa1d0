"""Pooling: over the whole image, and over any windows (maximum, average)."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.kernels import pool, window
from dptrain.model import ParamSpec
from dptrain.nn.geometry import Pair, pair
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class GlobalAverage:
    """(n, h, w, c) -> (n, c)."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        size = (x.shape[1], x.shape[2])
        return pool.global_average(x), lambda dy, gradients: pool.global_average_gradient(dy, size)  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class MaxPooling:
    """(n, h, w, c) -> (n, p, q, c): the largest pixel of each window; of equal ones the first gets the gradient.

    Size, stride (0: the size) and pad are one number, or a pair (rows, columns); `ceil`: see kernels.window.Window.
    """

    size: int | Pair = 2
    stride: int | Pair = 0
    pad: int | Pair = 0
    ceil: bool = False
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        y, place = window.maximum(x, _window(self.size, self.stride, self.pad, x, ceil=self.ceil))
        size = (x.shape[1], x.shape[2])
        return y, lambda dy, gradients: window.maximum_gradient(dy, place, size)  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class AveragePooling:
    """(n, h, w, c) -> (n, p, q, c): the mean of each window. Arguments as for MaxPooling.

    `count_pad`: the frame's zeros count in the mean; False: it is that of the image's own pixels.
    """

    size: int | Pair = 2
    stride: int | Pair = 0
    pad: int | Pair = 0
    ceil: bool = False
    count_pad: bool = True
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        windows = _window(self.size, self.stride, self.pad, x, ceil=self.ceil)._replace(count_pad=self.count_pad)
        size = (x.shape[1], x.shape[2])
        return window.average(x, windows), lambda dy, gradients: window.average_gradient(dy, windows, size)  # noqa: ARG005


def _window(size: int | Pair, stride: int | Pair, pad: int | Pair, x: Floats, *, ceil: bool) -> window.Window:
    """Raises ValueError for windows that do not fit the image."""
    made = window.Window(pair(size), pair(stride or size), pair(pad), ceil)
    for axis, length in enumerate(x.shape[1:3]):
        if 2 * made.pad[axis] > made.size[axis]:
            raise ValueError(f"pad {made.pad} is more than half of the window {made.size}: some would see no pixel")
        if length + 2 * made.pad[axis] < made.size[axis]:
            raise ValueError(f"a window of {made.size} does not fit an image of {x.shape[1:3]} with pad {made.pad}")
    return made
