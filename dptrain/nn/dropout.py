"""Dropout (Srivastava et al. 2014), inverted: what is kept is scaled up in training, evaluation changes nothing."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from dptrain.kernels import philox
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Chance, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Dropout:
    """Training: each value is 0 with probability `drop`, else x / (1 - drop). Any shape.

    Which ones is a pure function of seed, step, shard and `name`: whoever computes the shard, once more or elsewhere,
    drops the same.
    """

    name: str
    drop: float = 0.5
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.drop < 1.0:
            raise ValueError(f"dropout {self.name}: drop = {self.drop} must be at least 0 and less than 1")

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        """See the class."""
        if not run.training or self.drop == 0.0:
            return x, lambda dy, gradients: dy  # noqa: ARG005
        factors = self._factors(run.chance, x)
        return x * factors, lambda dy, gradients: dy * factors  # noqa: ARG005

    def _factors(self, chance: Chance, x: Floats) -> Floats:
        """0, or 1 / (1 - drop), for each value of x."""
        stream = (zlib.crc32(self.name.encode()) & 0xFFFF) << 16 | chance.shard & 0xFFFF
        words = philox.words(chance.seed, philox.domains.DROPOUT, chance.step & 0xFFFFFFFF, stream, x.size)
        kept = words >= np.uint32(int(self.drop * 2.0**32))
        return np.where(kept, x.dtype.type(1.0 / (1.0 - self.drop)), x.dtype.type(0)).reshape(x.shape)
