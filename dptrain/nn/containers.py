"""Networks out of layers: one after the other, and side by side with a sum. Tables of branches: table.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Layer, Run, Signal
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Container:
    """Layers, whose parameters and buffers are its own. How they work together is its subclasses' business."""

    layers: tuple[Layer, ...]

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Those of the layers, in order."""
        return tuple(spec for layer in self.layers for spec in layer.params)

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        """Those of the layers, in order."""
        return tuple(spec for layer in self.layers for spec in layer.buffers)


@dataclass(frozen=True, slots=True)
class Sequential(Container):
    """Each layer takes what the one before it gives."""

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def insert(self, at: int, layer: Layer) -> Sequential:
        """A new one, with `layer` as number `at`. Raises IndexError for a place there is not."""
        if not -len(self.layers) <= at <= len(self.layers):
            raise IndexError(f"insert at {at}: there are {len(self.layers)} layers")
        return Sequential((*self.layers[:at], layer, *self.layers[at:]))

    def remove(self, at: int) -> Sequential:
        """A new one, without layer number `at`."""
        kept = list(self.layers)
        kept.pop(at)
        return Sequential(tuple(kept))

    def __call__(self, run: Run, x: Signal) -> tuple[Signal, Backward]:
        """See the class."""
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
        """See the class."""
        y, branch_backward = self.branch(run, x)
        carried, shortcut_backward = self.shortcut(run, x)

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            total: Floats = np.add(branch_backward(dy, gradients), shortcut_backward(dy, gradients))
            return total

        return np.add(y, carried), backward
