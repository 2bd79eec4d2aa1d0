"""Threshold: what is not above it is replaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Threshold:
    """x where x > threshold (or NaN), else `value`; any shape. Torch's Threshold."""

    threshold: float = 1e-6
    value: float = 0.0
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        below = x <= x.dtype.type(self.threshold)
        y = np.where(below, x.dtype.type(self.value), x)
        return y, lambda dy, gradients: np.where(below, dy.dtype.type(0), dy)  # noqa: ARG005
