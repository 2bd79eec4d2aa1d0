"""Shortcuts: options A (in the paper's and the seeds' flavours), B and C of He et al. 2015, section 4.2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.kernels import pool
from dptrain.model import ParamSpec
from dptrain.nn.batchnorm import BatchNorm
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Identity:
    """x."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        return x, lambda dy, gradients: dy  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class _Halving:
    """Half the rows and columns, twice the channels: half of the new ones before and half after, or all at the end."""

    at_end: bool = False
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Subsample(_Halving):
    """(n, h, w, c) -> (n, ceil(h/2), ceil(w/2), 2c): every second pixel; c/2 zero channels before and after.

    `at_end`: c zero channels after instead.
    """

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:  # noqa: ARG001
            dx = np.zeros(x.shape, dy.dtype)
            dx[:, ::2, ::2] = _narrow(dy, at_end=self.at_end)
            return dx

        return _widen(x[:, ::2, ::2], at_end=self.at_end), backward


@dataclass(frozen=True, slots=True)
class AveragePool(_Halving):
    """(n, h, w, c) -> (n, h/2, w/2, 2c): means of 2 x 2 pixels; c/2 zero channels before and after. h, w even.

    `at_end`: c zero channels after instead.
    """

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:  # noqa: ARG001
            return pool.average2_gradient(_narrow(dy, at_end=self.at_end))

        return _widen(pool.average2(x), at_end=self.at_end), backward


def projection(name: str, inputs: int, outputs: int, stride: int, inits: tuple[str, str]) -> Sequential:
    """1 x 1 convolution and BatchNorm: options B and C. `inits`: of the convolution, of BatchNorm's scale."""
    convolution = Convolution(f"{name}.shortcut.0", inputs, outputs, 1, stride, pad=0, init=inits[0])
    return Sequential((convolution, BatchNorm(f"{name}.shortcut.1", outputs, init=inits[1])))


def _widen(x: Floats, *, at_end: bool) -> Floats:
    """Doubles the channels with zeros."""
    n, h, w, c = x.shape
    before = 0 if at_end else c // 2
    out = np.zeros((n, h, w, 2 * c), x.dtype)
    out[..., before : before + c] = x
    return out


def _narrow(dy: Floats, *, at_end: bool) -> Floats:
    """The channels `_widen` kept, C order."""
    c = dy.shape[3] // 2
    before = 0 if at_end else c // 2
    return np.ascontiguousarray(dy[..., before : before + c])
