"""Steps to measure BatchNorm's statistics over, and the file that gets them. For `reestimate` and `import`."""

from __future__ import annotations

from pathlib import Path

from dptrain.analysis.statistics import Measured, measure
from dptrain.cluster.state import TrainingState
from dptrain.data.shards import ShardSource
from dptrain.errors import CheckpointError, UsageError
from dptrain.model import Model
from dptrain.run.atomic import write_atomically
from dptrain.run.checkpoint import pack
from dptrain.run.facts import RunFacts
from dptrain.types import F32

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
