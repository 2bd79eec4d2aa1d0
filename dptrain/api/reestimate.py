"""Measures BatchNorm's running statistics anew, and writes the checkpoint that has them (`reestimate` and `import`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.atomic import write_atomically
from dptrain.data.shards import ShardSource
from dptrain.errors import CheckpointError, UsageError
from dptrain.model import Model
from dptrain.runs.checkpoint import pack
from dptrain.runs.manifest import RunFacts
from dptrain.state import TrainingState
from dptrain.types import F32, F64

SUFFIX = ".safetensors"


class Measured(NamedTuple):
    """New running statistics, and the number of images over which they were measured."""

    buffers: F32  #: (model.buffers.size,)
    samples: int


def measured(model: Model, params: F32, source: ShardSource, samples: int) -> Measured:
    """The mean over training shards of each shard's mean and unbiased variance, as the running statistics of training.

    samples: images, rounded up to whole steps of the first epoch; 0: the whole epoch. Shards are added one after
    another in float64, so the result has the same bits on every machine.
    """
    sampler = source.sampler
    steps = sampler.steps_per_epoch
    if samples:
        steps = min(steps, -(-samples // sampler.batch_size))
    total: F64 = np.zeros(model.buffers.size)
    images = 0
    for step in range(steps):
        for shard in range(sampler.shards(step)):
            result = model.gradient(params, *source.images(step, shard), step, shard)
            total += result.statistics
            images += result.samples
    return Measured((total / images).astype(np.float32), images)


def checked_checkpoint(path: Path) -> Path:
    """The path, if a checkpoint may be written there: checked before the work. Raises UsageError."""
    if path.suffix != SUFFIX or path.is_dir():
        raise UsageError(f"{path}: a checkpoint is a file named *{SUFFIX}")
    return path


def write_checkpoint(state: TrainingState, facts: RunFacts, term: int, path: Path) -> None:
    """Writes the checkpoint completely or not at all. Raises CheckpointError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, pack(state, facts, term))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}") from error
