"""Global average pooling: one number a channel."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.kernels import pool
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class GlobalAverage:
    """(n, h, w, c) -> (n, c)."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""
        size = (x.shape[1], x.shape[2])
        return pool.global_average(x), lambda dy, gradients: pool.global_average_gradient(dy, size)  # noqa: ARG005
