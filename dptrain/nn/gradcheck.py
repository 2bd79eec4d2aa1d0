"""Gradients against finite differences in float64, and the examples of layers that `dptrain gradcheck` checks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dptrain.kernels import normal, philox
from dptrain.model import ParamLayout
from dptrain.nn.activations import LogSoftMax, MulConstant, ReLU, Reshape, Sigmoid, SoftMax, Tanh, Threshold
from dptrain.nn.containers import CAddTable, ConcatTable, Parallel, Residual, Sequential
from dptrain.nn.convolution import Convolution, FullConvolution, Linear
from dptrain.nn.criterion import Measure
from dptrain.nn.initialise import initial_params
from dptrain.nn.layer import Layer, Run
from dptrain.nn.norm import BatchNorm, Dropout
from dptrain.nn.pooling import (
    AveragePooling,
    GlobalAverage,
    MaxPooling,
    Padding,
    ReflectionPadding,
    ReplicationPadding,
    UpSampling,
)
from dptrain.nn.resnet import AveragePool, Identity, Subsample
from dptrain.types import F64, I64, Floats

TOLERANCE = 1e-6  #: largest relative error of a correct gradient; that of a wrong one is about 1
#: A kink (ReLU, maximum) between x - h and x + h makes the difference wrong, not the gradient: the next step is tried.
_STEPS = (1e-5, 3e-6, 1e-6, 3e-7)
_ENTRIES = 40  #: checked per array, chosen at random; a fifth of them in a whole network, which has many arrays
_X, _WEIGHTS, _SPREAD, _PICK = range(4)  #: streams


def check_layer(layer: Layer, x: F64) -> float:
    """Worst relative error of the gradients of a weighted sum of the outputs, by x and by every parameter.

    Raises AssertionError if a gradient has another shape than its array.
    """
    weights: list[F64] = []

    def measure(y: Floats) -> tuple[float, Floats]:
        if not weights:
            weights.append(draws(y.shape, _WEIGHTS))
        return float((y * weights[0]).sum()), weights[0]

    return _worst(layer, x, measure, _ENTRIES)


def check_network(layer: Layer, x: F64, labels: I64, criterion: Measure) -> float:
    """As `check_layer`, for a whole network under its criterion."""

    def measure(y: Floats) -> tuple[float, Floats]:
        losses, dy = criterion(y, labels)
        return float(losses.sum()), dy

    return _worst(layer, x, measure, _ENTRIES // 5)


def check_criterion(criterion: Measure, scores: F64, labels: I64) -> float:
    """Worst relative error of its gradient by the scores."""
    _, gradient = criterion(scores, labels)
    floor = 1e-3 * float(np.abs(gradient).max())
    return _compare(scores, gradient, lambda: float(criterion(scores, labels)[0].sum()), floor, _ENTRIES)


def draws(shape: tuple[int, ...], stream: int = _X) -> F64:
    """Normal deviates of this shape, float64. The same stream gives the same values."""
    return normal.normals(0, philox.Domain.CANARY, stream, int(np.prod(shape))).reshape(shape)


def _worst(layer: Layer, x: F64, measure: Callable[[Floats], tuple[float, Floats]], entries: int) -> float:
    layout = ParamLayout(layer.params)
    flat = initial_params(layout, seed=1).astype(np.float64)
    flat += 0.05 * draws(flat.shape, _SPREAD)  # biases of 0 and scales of 1 would hide errors
    run = Run(layout.views(flat), {}, training=True)
    gradient = np.zeros(layout.size)
    y, backward = layer(run, x)
    dx = backward(measure(y)[1], layout.views(gradient))

    def value() -> float:
        y, _ = layer(run, x)
        return measure(y)[0]

    # A bias before a BatchNorm has a gradient of rounding errors only, so errors are relative to the largest gradient.
    floor = 1e-3 * max(float(np.abs(part).max(initial=1e-9)) for part in (gradient, dx))
    worst = 0.0 if dx.size == 0 else _compare(x, dx, value, floor, entries)  # the first layer of a network returns none
    views, gradients = layout.views(flat), layout.views(gradient)
    return max([worst, *(_compare(views[name], gradients[name], value, floor, entries) for name in views)])


def _compare(array: Floats, gradient: Floats, value: Callable[[], float], floor: float, entries: int) -> float:
    """Worst error at some entries of `array`, each of which is changed and restored."""
    assert gradient.shape == array.shape, f"gradient {gradient.shape} of an array {array.shape}"
    flat, expected = array.reshape(-1), gradient.reshape(-1)
    order = philox.permutation(0, philox.Domain.CANARY, _PICK, array.size)[:entries]
    return max(_error(flat, int(i), float(expected[i]), value, floor) for i in order)


def _error(flat: Floats, i: int, expected: float, value: Callable[[], float], floor: float) -> float:
    least, kept = np.inf, float(flat[i])
    for h in _STEPS:
        flat[i] = kept + h
        up = value()
        flat[i] = kept - h
        down = value()
        flat[i] = kept
        numeric = (up - down) / (2 * h)
        least = min(least, abs(numeric - expected) / max(abs(numeric), abs(expected), floor))
        if least < TOLERANCE:
            break
    return least


_IMAGE = (3, 6, 5, 4)
_ODD = (2, 7, 9, 3)
_FLAT = (5, 7)

EXAMPLES: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "Convolution": (Convolution("a", 4, 3), _IMAGE),
    "Convolution, stride 2 that does not tile": (Convolution("a", 4, 3, stride=2), _IMAGE),
    "Convolution, 1x1, stride 2, bias": (Convolution("a", 4, 3, taps=1, stride=2, pad=0, bias=True), _IMAGE),
    "Convolution, 5x3, stride 2x3, pad 2x0": (Convolution("a", 3, 2, (5, 3), (2, 3), (2, 0), bias=True), _ODD),
    "Convolution, first": (Convolution("a", 4, 3, first=True), _IMAGE),
    "FullConvolution": (FullConvolution("a", 4, 3), _IMAGE),
    "FullConvolution, stride 2, pad 1, extra 1": (FullConvolution("a", 4, 3, stride=2, pad=1, extra=1), _IMAGE),
    "FullConvolution, 3x2, stride 3, extra 2x0": (FullConvolution("a", 3, 2, (3, 2), 3, extra=(2, 0)), _ODD),
    "Linear": (Linear("a", 7, 4), _FLAT),
    "BatchNorm, images": (BatchNorm("a", 4), _IMAGE),
    "BatchNorm, flat": (BatchNorm("a", 7), _FLAT),
    "BatchNorm, not affine": (BatchNorm("a", 4, affine=False), _IMAGE),
    "ReLU": (ReLU(), _IMAGE),
    "Threshold": (Threshold(0.3, -1.5), _IMAGE),
    "Sigmoid": (Sigmoid(), _FLAT),
    "Tanh": (Tanh(), _FLAT),
    "SoftMax": (SoftMax(), _FLAT),
    "SoftMax, channels": (SoftMax(), _IMAGE),
    "LogSoftMax": (LogSoftMax(), _FLAT),
    "Dropout": (Dropout("a", 0.3), _IMAGE),
    "MaxPooling": (MaxPooling(), (3, 6, 8, 4)),
    "MaxPooling, 3, stride 2, pad 1, ceil": (MaxPooling(3, 2, 1, ceil=True), _ODD),
    "MaxPooling, 2x3, stride 1x2": (MaxPooling((2, 3), (1, 2)), _ODD),
    "AveragePooling": (AveragePooling(), (3, 6, 8, 4)),
    "AveragePooling, 3, stride 2, pad 1, ceil": (AveragePooling(3, 2, 1, ceil=True), _ODD),
    "AveragePooling, 3x2, pad 1, without the frame": (AveragePooling((3, 2), 1, 1, count_pad=False), _ODD),
    "GlobalAverage": (GlobalAverage(), _IMAGE),
    "Reshape": (Sequential((Reshape((10, 12)), Reshape())), _IMAGE),
    "Identity": (Identity(), _IMAGE),
    "MulConstant": (MulConstant(-2.5), _IMAGE),
    "Padding": (Padding(1, 2, 1, 0.5), _IMAGE),
    "Padding, channels": (Padding(-1, after=3), _IMAGE),
    "ReflectionPadding": (ReflectionPadding(2, 1, 3, 0), _IMAGE),
    "ReplicationPadding": (ReplicationPadding(2, 1, 3, 0), _IMAGE),
    "UpSampling": (UpSampling(3), _IMAGE),
    "Subsample": (Subsample(), (*_ODD[:3], 4)),
    "Subsample, zeros at the end": (Subsample(at_end=True), (*_ODD[:3], 3)),
    "AveragePool, zeros at the end": (AveragePool(at_end=True), (2, 4, 6, 3)),
    "AveragePool": (AveragePool(), (2, 4, 6, 4)),
    "ConcatTable and CAddTable": (
        Sequential((ConcatTable((Tanh(), Convolution("a", 4, 4), MulConstant(2.0))), CAddTable())),
        _IMAGE,
    ),
    "Parallel": (Parallel((Linear("a", 5, 3), Linear("b", 5, 4)), split=1), (3, 2, 5)),
    "Residual": (Residual(Sequential((Convolution("a", 4, 4), Tanh())), Identity()), _IMAGE),
}
