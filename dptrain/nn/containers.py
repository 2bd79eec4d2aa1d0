"""Layers made of layers: a sequence, the residual sum, and branches that share, add or split their inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Layer, Run, Signal
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Container:
    """Several layers with all their parameters and buffers. Its subclasses define how they work together."""

    layers: tuple[Layer, ...]

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        return tuple(spec for layer in self.layers for spec in layer.params)

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        return tuple(spec for layer in self.layers for spec in layer.buffers)


@dataclass(frozen=True, slots=True)
class Sequential(Container):
    """Each layer takes the output of the layer before it."""

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def insert(self, at: int, layer: Layer) -> Sequential:
        """A new Sequential with `layer` at index `at`. Raises IndexError if there is no such place."""
        if not -len(self.layers) <= at <= len(self.layers):
            raise IndexError(f"insert at {at}: there are {len(self.layers)} layers")
        return Sequential((*self.layers[:at], layer, *self.layers[at:]))

    def remove(self, at: int) -> Sequential:
        """A new Sequential without the layer at index `at`."""
        kept = list(self.layers)
        kept.pop(at)
        return Sequential(tuple(kept))

    def __call__(self, run: Run, x: Signal) -> tuple[Signal, Backward]:
        backwards = []
        for layer in self.layers:
            x, backward_of_layer = layer(run, x)
            if run.training:  # otherwise the activations can go at once
                backwards.append(backward_of_layer)

        def backward(dy: Signal, gradients: dict[str, Floats]) -> Signal:
            while backwards:
                dy = backwards.pop()(dy, gradients)  # pop: an activation is freed as soon as it was used
            return dy

        return x, backward


@dataclass(frozen=True, slots=True)
class Residual:
    """branch(x) + shortcut(x) (He et al. 2015, equation 1)."""

    branch: Layer
    shortcut: Layer

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Those of the branch, then of the shortcut."""
        return (*self.branch.params, *self.shortcut.params)

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        """Those of the branch, then of the shortcut."""
        return (*self.branch.buffers, *self.shortcut.buffers)

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        y, branch_backward = self.branch(run, x)
        carried, shortcut_backward = self.shortcut(run, x)

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            total: Floats = np.add(branch_backward(dy, gradients), shortcut_backward(dy, gradients))
            return total

        return np.add(y, carried), backward


@dataclass(frozen=True, slots=True)
class ConcatTable(Container):
    """x -> (layer 0 of x, layer 1 of x, ...)."""

    def __call__(self, run: Run, x: Floats) -> tuple[Signal, Backward]:
        ys, backwards = zip(*(layer(run, x) for layer in self.layers), strict=True)

        def backward(dy: Signal, gradients: dict[str, Floats]) -> Floats:
            parts = [back(own, gradients) for back, own in zip(backwards, dy, strict=True)]
            total: Floats = reduce(np.add, parts)  # from the first branch to the last
            return total

        return ys, backward


@dataclass(frozen=True, slots=True)
class CAddTable:
    """(x0, x1, ...) of one shape -> their sum, from the first to the last."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Signal) -> tuple[Floats, Backward]:
        y: Floats = reduce(np.add, x)
        return y, lambda dy, gradients: (dy,) * len(x)


@dataclass(frozen=True, slots=True)
class Parallel(Container):
    """Layer i works on slice i of x along axis `split`. The results are joined along axis `join` (0 is the image).

    Torch's Parallel: a slice loses the axis, so x must be as long there as there are layers.
    """

    split: int = -1
    join: int = -1

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        if x.shape[self.split] != len(self.layers):
            raise ValueError(f"axis {self.split} of {x.shape} has no slice for each of {len(self.layers)} layers")
        slices = [np.ascontiguousarray(part) for part in np.moveaxis(x, self.split, 0)]
        ys, backwards = zip(*(layer(run, part) for layer, part in zip(self.layers, slices, strict=True)), strict=True)
        ends = np.add.accumulate([y.shape[self.join] for y in ys])

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            parts = np.split(dy, ends[:-1], axis=self.join)
            dxs = [back(np.ascontiguousarray(p), gradients) for back, p in zip(backwards, parts, strict=True)]
            return np.ascontiguousarray(np.stack(dxs, axis=self.split))

        return np.concatenate(ys, axis=self.join), backward
