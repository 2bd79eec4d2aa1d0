"""Layers that differ in training and evaluation: BatchNorm (Ioffe & Szegedy 2015), dropout (Srivastava et al. 2014)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from dptrain.kernels import norm, philox
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Chance, Run
from dptrain.types import Floats

EPSILON = 1e-5  #: as in PyTorch and the predecessors


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """(n, ..., channels) -> the same shape. Training uses the statistics of the shard, evaluation the running ones.

    It normalises with the biased variance and records the unbiased one for the running statistics, as Torch does.
    """

    name: str
    channels: int
    affine: bool = True  #: False: no scale and shift (the name is PyTorch's)
    init: str = "ones"  #: of the scale

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Scale and shift."""
        shape = (self.channels,)
        if not self.affine:
            return ()
        return (
            ParamSpec(f"{self.name}.weight", shape, decay=False, init=self.init),
            ParamSpec(f"{self.name}.bias", shape, decay=False),
        )

    @property
    def buffers(self) -> tuple[ParamSpec, ...]:
        """Running mean and variance."""
        shape = (self.channels,)
        return (ParamSpec(f"{self.name}.running_mean", shape), ParamSpec(f"{self.name}.running_var", shape))

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        """The backward pass exists in training only."""
        gamma: Floats | float = run.params[f"{self.name}.weight"] if self.affine else 1.0
        beta: Floats | float = run.params[f"{self.name}.bias"] if self.affine else 0.0
        dtype, flat = x.dtype, x.reshape(x.shape[0], -1, self.channels)
        count = flat.shape[0] * flat.shape[1]
        if run.training:
            mean64, variance = norm.moments(flat)
            run.statistics[f"{self.name}.running_mean"] = mean64.astype(dtype)
            run.statistics[f"{self.name}.running_var"] = (variance * (count / max(count - 1, 1))).astype(dtype)
        else:
            mean64 = run.buffers[f"{self.name}.running_mean"].astype(np.float64)
            variance = run.buffers[f"{self.name}.running_var"].astype(np.float64)
        inverse = 1.0 / np.sqrt(variance + EPSILON)
        mean, scale = mean64.astype(dtype), (gamma * inverse).astype(dtype)
        y = norm.normalise(flat, scale, (beta - mean64 * scale).astype(dtype)).reshape(x.shape)

        def backward(dy: Floats, gradients: dict[str, Floats]) -> Floats:
            dy = dy.reshape(flat.shape)
            total, weighted = norm.reductions(dy, flat, mean)
            if self.affine:
                gradients[f"{self.name}.weight"][...] = weighted * inverse
                gradients[f"{self.name}.bias"][...] = total
            a, b = total / count, weighted * inverse * inverse / count
            dx = norm.input_gradient(dy, flat, (mean, scale, a.astype(dtype), b.astype(dtype)))
            return dx.reshape(x.shape)

        return y, backward


@dataclass(frozen=True, slots=True)
class Dropout:
    """Training: each value is 0 with probability `drop`, else x / (1 - drop). Evaluation: x. Any shape.

    The choice is a function of seed, step, shard and `name`, so every worker that computes a shard drops the same
    values.
    """

    name: str
    drop: float = 0.5
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.drop < 1.0:
            raise ValueError(f"dropout {self.name}: drop = {self.drop} must be at least 0 and less than 1")

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:
        if not run.training or self.drop == 0.0:
            return x, lambda dy, gradients: dy
        factors = self._factors(run.chance, x)
        return x * factors, lambda dy, gradients: dy * factors

    def _factors(self, chance: Chance, x: Floats) -> Floats:
        """0, or 1 / (1 - drop), for each value of x."""
        stream = (zlib.crc32(self.name.encode()) & 0xFFFF) << 16 | chance.shard & 0xFFFF
        words = philox.words(chance.seed, philox.Domain.DROPOUT, chance.step & 0xFFFFFFFF, stream, x.size)
        kept = words >= np.uint32(int(self.drop * 2.0**32))
        return np.where(kept, x.dtype.type(1.0 / (1.0 - self.drop)), x.dtype.type(0)).reshape(x.shape)
