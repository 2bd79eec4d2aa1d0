"""Layers that work value by value, softmax over the last axis, and Reshape. The first axis is the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.kernels import activation
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class ReLU:
    """max(x, 0), any shape."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        y = activation.relu(x)
        return y, lambda dy, gradients: activation.relu_gradient(dy, y)


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """1 / (1 + exp(-x)), any shape."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        y = activation.sigmoid(x)
        return y, lambda dy, gradients: activation.sigmoid_gradient(dy, y)


@dataclass(frozen=True, slots=True)
class Tanh:
    """Hyperbolic tangent, any shape."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        y = activation.tanh(x)
        return y, lambda dy, gradients: activation.tanh_gradient(dy, y)


@dataclass(frozen=True, slots=True)
class SoftMax:
    """exp(x) over its sum along the last axis: over classes, or over the channels of each pixel."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        y = activation.softmax(x)
        return y, lambda dy, gradients: activation.softmax_gradient(dy, y)


@dataclass(frozen=True, slots=True)
class LogSoftMax:
    """The logarithm of SoftMax, without overflow."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        y = activation.log_softmax(x)
        return y, lambda dy, gradients: activation.log_softmax_gradient(dy, y)


@dataclass(frozen=True, slots=True)
class Threshold:
    """x where x > threshold (or NaN), else `value`; any shape. Torch's Threshold."""

    threshold: float = 1e-6
    value: float = 0.0
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        below = x <= x.dtype.type(self.threshold)
        y = np.where(below, x.dtype.type(self.value), x)
        return y, lambda dy, gradients: np.where(below, dy.dtype.type(0), dy)


@dataclass(frozen=True, slots=True)
class MulConstant:
    """factor * x, any shape."""

    factor: float
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        factor = x.dtype.type(self.factor)
        return x * factor, lambda dy, gradients: dy * factor


@dataclass(frozen=True, slots=True)
class Reshape:
    """(n, ...) -> (n, *shape), Torch's View, too; one -1 is what is left. C order: rows, columns, channels."""

    shape: tuple[int, ...] = (-1,)
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        """Raises ValueError for a shape of another size."""
        return x.reshape(x.shape[0], *self.shape), lambda dy, gradients: dy.reshape(x.shape)
