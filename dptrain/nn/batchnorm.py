"""Batch normalisation over everything but the channels (Ioffe & Szegedy 2015), for images and for flat vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.kernels import norm
from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats

EPSILON = 1e-5  #: as in PyTorch and the seeds


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """(n, ..., channels) -> the same shape. Training: statistics of this batch; else the running ones.

    Normalises with the biased variance; hands on the unbiased one for the running statistics, as Torch does.
    """

    name: str
    channels: int
    affine: bool = True  #: False: no scale and shift
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
        """See the class. The backward pass exists in training only."""
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
