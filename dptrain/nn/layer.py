"""What a layer is: a callable on (run, x) that returns y and the function that takes dy back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from dptrain.model import ParamSpec
from dptrain.types import Floats

#: What flows between layers: an array (n, ...); between `ConcatTable` and `CAddTable` a tuple of arrays.
Signal: TypeAlias = Any


class Chance(NamedTuple):
    """What a layer that draws by chance draws from: the same three numbers, the same draws, on every machine."""

    seed: int = 0  #: of the run
    step: int = 0  #: updates applied before this one
    shard: int = 0  #: within the step


@dataclass(slots=True)
class Run:
    """One forward pass: the named arrays the layers read, and what they leave behind."""

    params: Mapping[str, Floats]  #: learnable arrays, by name
    buffers: Mapping[str, Floats]  #: running statistics, by name; read only when not training
    training: bool  #: BatchNorm takes the statistics of this batch, and leaves them in `statistics`; dropout drops
    statistics: dict[str, Floats] = field(default_factory=dict)  #: same names as buffers: mean, UNBIASED variance
    chance: Chance = field(default_factory=Chance)


class Backward(Protocol):
    """Takes the gradient of a layer's output; writes the layer's own gradients by name; returns that of its input.

    What it needs from the forward pass it holds itself. Call it at most once, and never change `dy` in place.
    """

    def __call__(self, dy: Signal, gradients: dict[str, Floats]) -> Signal:
        """dy has the shape of y; the result has the shape of x."""
        ...


class Layer(Protocol):
    """A layer, or a network of layers. A frozen dataclass: whoever walks over a network finds layers in its fields."""

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
    """In place of a layer, with its parameters and buffers. What it does instead is its subclasses' business."""

    of: Layer

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Those of the layer it stands for."""
        return self.of.params

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        """Those of the layer it stands for."""
        return self.of.buffers
