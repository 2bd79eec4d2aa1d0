"""Affine layer. Computed as a 1 x 1 convolution over images of one pixel: one set of kernels, one order of sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from dptrain.kernels import conv
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Linear:
    """(n, inputs) -> (n, outputs): x w' + b. Weights (outputs, inputs), bias (outputs,)."""

    name: str
    inputs: int
    outputs: int
    init: str = "torch"  #: of the weights; the shift is drawn like them with "torch", and 0 otherwise

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Weights and bias."""
        fan = (self.inputs, self.outputs)
        shift = "torch" if self.init == "torch" else "zeros"
        return (
            ParamSpec(f"{self.name}.weight", (self.outputs, self.inputs), init=self.init, fan=fan),
            ParamSpec(f"{self.name}.bias", (self.outputs,), decay=False, init=shift, fan=fan),
        )

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        """None."""
        return ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        """See the class."""
        weights = run.params[f"{self.name}.weight"][:, :, None, None]
        pixel = x[:, None, None, :]
        y = conv.forward(pixel, weights, 1, 0)[:, 0, 0] + run.params[f"{self.name}.bias"]

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            out = dy[:, None, None, :]
            gradients[f"{self.name}.weight"][...] = conv.weight_gradient(pixel, out, (1, 1), 1, 0)[:, :, 0, 0]
            gradients[f"{self.name}.bias"][...] = reduce(np.add, dy)  # sample after sample
            return conv.input_gradient(out, weights, (1, 1), 1, 0)[:, 0, 0]

        return y, backward
