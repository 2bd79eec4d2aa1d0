"""Multiplication by a constant."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class MulConstant:
    """factor * x, any shape."""

    factor: float
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        factor = x.dtype.type(self.factor)
        return x * factor, lambda dy, gradients: dy * factor  # noqa: ARG005
