"""BatchNorm's running statistics measured anew: with weights that stand still, over shards as training makes them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from dptrain.model import Model
from dptrain.types import F32, F64, I64, U8


class Shards(Protocol):
    """Where they come from: `dptrain.data.ShardSource`."""

    def images(self, step: int, shard: int) -> tuple[U8, I64]:
        """One shard, augmented."""
        ...


class Measured(NamedTuple):
    """What was found, and over how much."""

    buffers: F32  #: (model.buffers.size,)
    samples: int


def measure(model: Model, params: F32, source: Shards, shards: list[int]) -> Measured:
    """Mean over the samples of each shard's own mean and unbiased variance, as training's running ones.

    shards: how many each step has, of the steps from 0. Added one after another in float64, so the same everywhere.
    """
    total: F64 = np.zeros(model.buffers.size)
    samples = 0
    for step, count in enumerate(shards):
        for shard in range(count):
            result = model.gradient(params, *source.images(step, shard), step, shard)
            total += result.statistics
            samples += result.samples
    return Measured((total / samples).astype(np.float32), samples)
