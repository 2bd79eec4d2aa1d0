"""Gradients against differences, in float64: of a layer, of a network, of a criterion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dptrain.kernels import philox
from dptrain.model import ParamLayout
from dptrain.nn.criterion import Measure
from dptrain.nn.initialise import initial_params
from dptrain.nn.layer import Layer, Run
from dptrain.types import F64, I64, Floats

TOLERANCE = 1e-6  #: largest relative error of a right gradient; of a wrong one it is about 1
#: A kink (ReLU, maximum) between x - h and x + h spoils the difference, not the gradient: the next step is tried.
_STEPS = (1e-5, 3e-6, 1e-6, 3e-7)
_ENTRIES = 40  #: of each array, drawn at random; of a whole network's a fifth, for it has many arrays
_X, _WEIGHTS, _SPREAD, _PICK = range(4)  #: streams


def check_layer(layer: Layer, x: F64) -> float:
    """Worst relative error of the gradients of the sum of weighted outputs, by x and by every parameter.

    Raises AssertionError where a gradient has another shape than its array.
    """
    weights: list[F64] = []

    def measure(y: Floats) -> tuple[float, Floats]:
        if not weights:
            weights.append(draws(y.shape, _WEIGHTS))
        return float((y * weights[0]).sum()), weights[0]

    return _worst(layer, x, measure, _ENTRIES)


def check_network(layer: Layer, x: F64, labels: I64, criterion: Measure) -> float:
    """The same for a whole network under its criterion."""

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
    """Normal deviates, always the same ones."""
    return philox.normals(0, philox.domains.CANARY, stream, int(np.prod(shape))).reshape(shape)


def _worst(layer: Layer, x: F64, measure: Callable[[Floats], tuple[float, Floats]], entries: int) -> float:
    layout = ParamLayout(layer.params)
    flat = initial_params(layout, seed=1).astype(np.float64)
    flat += 0.05 * draws(flat.shape, _SPREAD)  # shifts of 0 and scales of 1 would hide errors
    run = Run(layout.views(flat), {}, training=True)
    gradient = np.zeros(layout.size)
    y, backward = layer(run, x)
    dx = backward(measure(y)[1], layout.views(gradient))

    def value() -> float:
        y, _ = layer(run, x)
        return measure(y)[0]

    # Before a BatchNorm a shift has no gradient but rounding errors: errors are held against the largest of all.
    floor = 1e-3 * max(float(np.abs(part).max(initial=1e-9)) for part in (gradient, dx))
    worst = 0.0 if dx.size == 0 else _compare(x, dx, value, floor, entries)  # a network's first layer gives none
    views, gradients = layout.views(flat), layout.views(gradient)
    return max([worst, *(_compare(views[name], gradients[name], value, floor, entries) for name in views)])


def _compare(array: Floats, gradient: Floats, value: Callable[[], float], floor: float, entries: int) -> float:
    """Worst error at some entries of `array`, which is changed and changed back."""
    assert gradient.shape == array.shape, f"gradient {gradient.shape} of an array {array.shape}"
    flat, expected = array.reshape(-1), gradient.reshape(-1)
    order = philox.permutation(0, philox.domains.CANARY, _PICK, array.size)[:entries]
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
