"""Shortcuts without parameters: option A of He et al. 2015, section 4.2, in the paper's and the seed's flavour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.kernels import pool
from dptrain.model import ParamSpec
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
class Subsample:
    """(n, h, w, c) -> (n, ceil(h/2), ceil(w/2), 2c): every second pixel; c/2 zero channels before and after."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:  # noqa: ARG001
            dx = np.zeros(x.shape, dy.dtype)
            dx[:, ::2, ::2] = _narrow(dy)
            return dx

        return _widen(x[:, ::2, ::2]), backward


@dataclass(frozen=True, slots=True)
class AveragePool:
    """(n, h, w, c) -> (n, h/2, w/2, 2c): means of 2 x 2 pixels; c/2 zero channels before and after. h, w even."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:  # noqa: ARG001
            return pool.average2_gradient(_narrow(dy))

        return _widen(pool.average2(x)), backward


def _widen(x: Floats) -> Floats:
    """Doubles the channels with zeros, half before and half after."""
    n, h, w, c = x.shape
    out = np.zeros((n, h, w, 2 * c), x.dtype)
    out[..., c // 2 : c // 2 + c] = x
    return out


def _narrow(dy: Floats) -> Floats:
    """The channels `_widen` kept, C order."""
    c = dy.shape[3] // 2
    return np.ascontiguousarray(dy[..., c // 2 : c // 2 + c])
