"""Initial weights, drawn from counter-based streams by parameter number: the same on every machine, in any order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels.normal import normals
from dptrain.kernels.philox import Domain, uniforms
from dptrain.model import ParamLayout, ParamSpec
from dptrain.types import F32, F64


class Stream(NamedTuple):
    """The source of the numbers of one array."""

    seed: int
    number: int  #: of the array in its layout

    def normals(self, shape: tuple[int, ...]) -> F64:
        """Of mean 0 and variance 1."""
        return normals(self.seed, Domain.INIT, self.number, math.prod(shape)).reshape(shape)

    def uniforms(self, shape: tuple[int, ...]) -> F64:
        """In [0, 1)."""
        return uniforms(self.seed, Domain.INIT, self.number, math.prod(shape)).reshape(shape)


def kaiming(stream: Stream, spec: ParamSpec) -> F64:
    """N(0, 2 / fan in): He et al. 2015b, equation 10; the gain of ReLU."""
    return stream.normals(spec.shape) * math.sqrt(2.0 / spec.fan[0])


def fan_in(stream: Stream, spec: ParamSpec) -> F64:
    """N(0, 1 / fan in): PyFunt's linear layer, and its convolution unless that is Kaiming's."""
    return stream.normals(spec.shape) * math.sqrt(1.0 / spec.fan[0])


def torch(stream: Stream, spec: ParamSpec) -> F64:
    """U(-1 / sqrt(fan in), 1 / sqrt(fan in)): Torch's linear layer, weights and biases."""
    return (2.0 * stream.uniforms(spec.shape) - 1.0) / math.sqrt(spec.fan[0])


def xavier(stream: Stream, spec: ParamSpec) -> F64:
    """U(-a, a) with a = sqrt(6 / (fan in + fan out)): Glorot & Bengio 2010, equation 16."""
    return (2.0 * stream.uniforms(spec.shape) - 1.0) * math.sqrt(6.0 / sum(spec.fan))


def orthogonal(stream: Stream, spec: ParamSpec) -> F64:
    """sqrt(2), the gain of ReLU, times a matrix of orthonormal rows, or columns if they are fewer: Saxe et al. 2014.

    The matrix is (first axis) x (the other axes). Gram-Schmidt twice, with every sum taken in order, because the bits
    of LAPACK depend on the CPU.
    """
    tall = spec.shape[0] > math.prod(spec.shape[1:])
    drawn = stream.normals(spec.shape).reshape(spec.shape[0], -1)
    rows = drawn.T.copy() if tall else drawn
    for i, row in enumerate(rows):
        for _ in range(2):  # once would leave rounding errors of the size of the condition number
            for other in rows[:i]:
                row -= _in_order(row * other) * other
        row /= math.sqrt(_in_order(row * row))
    return (rows.T if tall else rows).reshape(spec.shape) * math.sqrt(2.0)


def _in_order(x: F64) -> float:
    """The sum from the first to the last element: the order of np.sum depends on the CPU."""
    return float(np.add.accumulate(x)[-1])


def _normal(mean: float, std: float) -> Callable[[Stream, ParamSpec], F64]:
    return lambda stream, spec: stream.normals(spec.shape) * std + mean


INITIALISERS: dict[str, Callable[[Stream, ParamSpec], F64]] = {
    "zeros": lambda _stream, spec: np.zeros(spec.shape),
    "ones": lambda _stream, spec: np.ones(spec.shape),
    "kaiming": kaiming,
    "fan-in": fan_in,
    "torch": torch,
    "xavier": xavier,
    "orthogonal": orthogonal,
    "uniform": lambda stream, spec: stream.uniforms(spec.shape),  # Torch's BatchNorm of 2016
    "gcr": _normal(1.0, 0.002),  # gcr's first BatchNorm of a block
    "pyfunt": _normal(0.6, 0.005),  # PyFunt's init_bn_w
    "pyfunt-wide": _normal(0.7, 0.04),  # PyFunt's init_bn_w_disp
}


def initial_params(layout: ParamLayout, seed: int) -> F32:
    """(layout.size,): each array as its spec says. Raises UsageError for an unknown initialiser."""
    flat = np.zeros(layout.size, np.float32)
    views = layout.views(flat)
    for number, spec in enumerate(layout.specs):
        if spec.init not in INITIALISERS:
            raise UsageError(f"{spec.name}: unknown initialiser {spec.init!r}; there are {', '.join(INITIALISERS)}")
        views[spec.name][...] = INITIALISERS[spec.init](Stream(seed, number), spec)
    return flat


def initial_buffers(layout: ParamLayout) -> F32:
    """(layout.size,): running means 0, running variances 1."""
    flat = np.zeros(layout.size, np.float32)
    for name, view in layout.views(flat).items():
        view[...] = 1 if name.endswith("running_var") else 0
    return flat
