"""Nearest-neighbour up-sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class UpSampling:
    """(n, h, w, c) -> (n, scale h, scale w, c): every pixel scale x scale times."""

    scale: int
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class."""

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:  # noqa: ARG001
            dx = np.zeros(x.shape, dy.dtype)
            for i in range(self.scale):
                for j in range(self.scale):
                    dx += dy[:, i :: self.scale, j :: self.scale]
            return dx

        return np.repeat(np.repeat(x, self.scale, axis=1), self.scale, axis=2), backward
