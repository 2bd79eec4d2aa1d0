"""What a layer is, and the operations on images (n, h, w, c) that several layers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from dptrain.kernels import norm
from dptrain.model import ParamSpec
from dptrain.types import Floats

#: What flows between layers: an array (n, ...); between `ConcatTable` and `CAddTable` a tuple of arrays.
Signal: TypeAlias = Any


class Chance(NamedTuple):
    """The source of a layer's random draws: the same three numbers give the same draws on every machine."""

    seed: int = 0  #: of the run
    step: int = 0  #: updates applied before this one
    shard: int = 0  #: within the step


@dataclass(slots=True)
class Run:
    """One forward pass: the named arrays that the layers read, and the statistics that they record."""

    params: Mapping[str, Floats]  #: learnable arrays, by name
    buffers: Mapping[str, Floats]  #: running statistics, by name; read only when not training
    training: bool  #: BatchNorm uses the statistics of this shard and records them in `statistics`; dropout drops
    statistics: dict[str, Floats] = field(default_factory=dict)  #: same names as buffers: mean, UNBIASED variance
    chance: Chance = field(default_factory=Chance)
    tile: int = 4  #: of Winograd's algorithm in convolutions, at most (kernels/winograd.py); 0: none


class Backward(Protocol):
    """Takes the gradient of a layer's output; writes the layer's own gradients by name; returns that of its input.

    It holds what it needs from the forward pass. Call it at most once. It never changes `dy` in place.
    """

    def __call__(self, dy: Signal, gradients: dict[str, Floats]) -> Signal:
        """dy has the shape of y; the result has the shape of x."""
        ...


class Layer(Protocol):
    """A layer, or a network of layers: a frozen dataclass whose fields hold the layers inside it."""

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Names and shapes of what it learns, in order."""
        ...

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        """Names and shapes of its running statistics, in order."""
        ...

    def __call__(self, run: Run, x: Signal) -> tuple[Signal, Backward]:
        """x -> (y, backward). Does not change x."""
        ...


@dataclass(frozen=True, slots=True)
class StandIn:
    """Replaces a layer and has its parameters and buffers. Its subclasses define what it does instead."""

    of: Layer

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Those of the layer it stands for."""
        return self.of.params

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        """Those of the layer it stands for."""
        return self.of.buffers


Pair: TypeAlias = tuple[int, int]  #: rows, columns


def pair(value: int | Pair) -> Pair:
    """(rows, columns), from one number for both or from a pair."""
    return (value, value) if isinstance(value, int) else value


def framed(x: Floats, frame: Pair) -> Floats:
    """x with `frame` rows and columns of zeros on each side."""
    if frame == (0, 0):
        return x
    n, h, w, c = x.shape
    out = np.zeros((n, h + 2 * frame[0], w + 2 * frame[1], c), x.dtype)
    out[:, frame[0] : frame[0] + h, frame[1] : frame[1] + w] = x
    return out


def cropped(x: Floats, frame: Pair) -> Floats:
    """x without `frame` rows and columns on each side, C order."""
    if frame == (0, 0):
        return x
    return np.ascontiguousarray(x[:, frame[0] : x.shape[1] - frame[0], frame[1] : x.shape[2] - frame[1]])


def dilated(dy: Floats, keep: Pair, size: tuple[int, ...]) -> Floats:
    """`dy` at every `keep[0]`-th row and `keep[1]`-th column of an image of `size`, zeros between."""
    if keep == (1, 1):
        return dy
    out = np.zeros((dy.shape[0], *size, dy.shape[3]), dy.dtype)
    out[:, :: keep[0], :: keep[1]] = dy
    return out


def channel_sums(dy: Floats) -> Floats:
    """Sums over all axes but the last: (n, ..., c) -> (c,) float64, in the order of kernels/norm.py."""
    flat = dy.reshape(dy.shape[0], -1, dy.shape[-1])
    return norm.reductions(flat, flat, np.zeros(flat.shape[2], flat.dtype))[0]
