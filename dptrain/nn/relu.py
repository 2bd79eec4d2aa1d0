"""Rectified linear unit."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.kernels import activation
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class ReLU:
    """max(x, 0), any shape."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002  # every layer gets the run
        """See the class."""
        y = activation.relu(x)
        return y, lambda dy, gradients: activation.relu_gradient(dy, y)  # noqa: ARG005
