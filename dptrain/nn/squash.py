"""Sigmoid, tanh, softmax and log-softmax as layers."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.kernels import squash
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """1 / (1 + exp(-x)), any shape."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        y = squash.sigmoid(x)
        return y, lambda dy, gradients: squash.sigmoid_gradient(dy, y)  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class Tanh:
    """Hyperbolic tangent, any shape."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        y = squash.tanh(x)
        return y, lambda dy, gradients: squash.tanh_gradient(dy, y)  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class SoftMax:
    """exp(x) over its sum along the last axis: over classes, or over the channels of each pixel."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        y = squash.softmax(x)
        return y, lambda dy, gradients: squash.softmax_gradient(dy, y)  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class LogSoftMax:
    """The logarithm of SoftMax, without overflow."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        y = squash.log_softmax(x)
        return y, lambda dy, gradients: squash.log_softmax_gradient(dy, y)  # noqa: ARG005
