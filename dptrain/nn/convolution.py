"""Two-dimensional convolution without bias (BatchNorm follows and has one)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.kernels import conv
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Convolution:
    """(n, h, w, inputs) -> (n, p, q, outputs); p = (h + 2 pad - taps) // stride + 1.

    Weights (outputs, inputs, taps, taps).
    """

    name: str
    inputs: int
    outputs: int
    taps: int = 3
    stride: int = 1
    pad: int = 1
    first: bool = False  #: of the network: nobody wants its input gradient, so backward returns an empty array

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """The weights."""
        return (ParamSpec(f"{self.name}.weight", (self.outputs, self.inputs, self.taps, self.taps)),)

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        """None."""
        return ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        """See the class."""
        weights = run.params[f"{self.name}.weight"]

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            gradients[f"{self.name}.weight"][...] = conv.weight_gradient(
                x, dy, (self.taps, self.taps), self.stride, self.pad
            )
            if self.first:
                return np.empty(0, dy.dtype)
            return conv.input_gradient(dy, weights, (x.shape[1], x.shape[2]), self.stride, self.pad)

        return conv.forward(x, weights, self.stride, self.pad), backward
