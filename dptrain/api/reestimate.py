"""Steps to measure BatchNorm's statistics over, and the file that gets them. For `reestimate` and `import`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from dptrain.atomic import write_atomically
from dptrain.data.shards import ShardSource
from dptrain.errors import CheckpointError, UsageError
from dptrain.model import Model
from dptrain.runs.checkpoint import pack
from dptrain.runs.manifest import RunFacts
from dptrain.state import TrainingState
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


SUFFIX = ".safetensors"


def measured(model: Model, params: F32, source: ShardSource, samples: int) -> Measured:
    """Over whole steps of the first epoch, until there are `samples`; 0: over all of it."""
    sampler = source.sampler
    steps = sampler.steps_per_epoch
    if samples:
        steps = min(steps, -(-samples // sampler.batch_size))
    return measure(model, params, source, [sampler.shards(step) for step in range(steps)])


def checked_checkpoint(path: Path) -> Path:
    """Where a checkpoint may be written, before the work. Raises UsageError."""
    if path.suffix != SUFFIX or path.is_dir():
        raise UsageError(f"{path}: a checkpoint is a file named *{SUFFIX}")
    return path


def write_checkpoint(state: TrainingState, facts: RunFacts, term: int, path: Path) -> None:
    """Whole or not at all. Raises CheckpointError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, pack(state, facts, term))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}") from error
