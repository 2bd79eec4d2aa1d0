"""Checkpoints made without training: with BatchNorm statistics measured again, or of weights from another program."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.api.trained import load_trained, open_trained_data
from dptrain.atomic import write_atomically
from dptrain.data.shards import ShardSource
from dptrain.errors import CheckpointError, DataError, UsageError
from dptrain.interop.pyfunt import PyfuntNetwork, our_network, read_pyfunt
from dptrain.interop.weights import Normalisation, read_weights
from dptrain.kernels import isa
from dptrain.model import Model, ParamLayout
from dptrain.runs.checkpoint import load, pack
from dptrain.runs.manifest import RunFacts, find_facts
from dptrain.settings import Config, DeploymentConfig
from dptrain.state import TrainingState
from dptrain.types import F32, F64, Floats
from dptrain.workers.parts import first_state, open_parts

SUFFIX = ".safetensors"
#: Settings of the network that a model.npy of PyFunt determines.
FROM_NPY = ("n", "filters", "hidden", "block", "shortcut")


class Written(NamedTuple):
    """A checkpoint that was written."""

    path: Path
    about: str  #: what is in it, for the user


class _Measured(NamedTuple):
    """New running statistics, and the number of images over which they were measured."""

    buffers: F32  #: (model.buffers.size,)
    samples: int


def reestimate(checkpoint: Path, out: Path, over: int, deployment: DeploymentConfig) -> Written:
    """Measures BatchNorm's running statistics over `over` training images (0: all), with the weights as they are.

    The result is written to `out`; the checkpoint stays as it is. Raises UsageError for a network without BatchNorm.
    """
    file = _checked_checkpoint(out)
    trained = load_trained(checkpoint, deployment.networks)
    model = trained.model
    if not model.buffers.size:
        raise UsageError(f"{trained.path}: the network has no BatchNorm, so there is nothing to measure")
    found = _measured(model, trained.params, open_trained_data(trained, deployment.data_dir), max(0, over))
    stored = load(trained.path)
    state = stored.state(model.params, model.buffers)
    state.buffers = found.buffers
    nothing = np.zeros(0, np.float32)
    state.best_accuracy, state.best_params, state.best_buffers = -1.0, nothing, nothing
    _write_checkpoint(state, trained.facts, stored.term, file)
    return Written(file, f"statistics of {found.samples:,} images, weights of step {trained.step:,}")


def import_weights(weights: Path, out: Path, config: Config, over: int, *, right_relu: bool) -> Written:
    """Writes a checkpoint of PyFunt's model.npy, or of a state_dict of PyTorch or in a .safetensors file.

    The network is that of `config`, except what a model.npy determines. BatchNorm's statistics are measured over `over`
    training images (0: all) if the file has none. `right_relu`: PyFunt's ReLU was corrected before the training. Raises
    DataError and UsageError if the file does not fit the network.
    """
    file = _checked_checkpoint(out)
    if file == weights:
        raise UsageError(f"{weights}: the checkpoint would replace the file it is made of: name another with --out")
    tensors: dict[str, Floats]
    if weights.suffix == ".npy":
        network = our_network(read_pyfunt(weights), weights, upside_down=not right_relu)
        config, tensors = _with_network(config, network), network.tensors
    else:
        found_there = read_weights(weights)
        config, tensors = _with_normalisation(config, found_there.normalisation), dict(found_there.arrays)
    parts = open_parts(config, config.deployment.data_dir)
    state = first_state(parts)
    state.params = _vector(parts.model.params, tensors, weights)
    if any(spec.name in tensors for spec in parts.model.buffers.specs):
        state.buffers = _vector(parts.model.buffers, tensors, weights)
        statistics = "with the BatchNorm statistics of the file"
    else:
        found = _measured(parts.model, state.params, parts.source, max(0, over))
        state.buffers, statistics = found.buffers, f"BatchNorm statistics of {found.samples:,} training images"
    known = {spec.name for layout in (parts.model.params, parts.model.buffers) for spec in layout.specs}
    if strange := sorted(set(tensors) - known):
        raise UsageError(f"{weights} has {strange[0]}, which this network does not have (`dptrain describe` prints it)")
    facts = find_facts(config, parts.source, parts.model, isa.NUMERICS)
    _write_checkpoint(state, facts, 1, file)
    return Written(file, f"{facts.model}, {statistics}")


def _measured(model: Model, params: F32, source: ShardSource, samples: int) -> _Measured:
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
    return _Measured((total / images).astype(np.float32), images)


def _with_normalisation(config: Config, found: Normalisation | None) -> Config:
    """With that of the file, unless the configuration names another one."""
    if found is None or config.data.mean or config.data.normalise != "channel":
        return config
    mean, std = (tuple(value / 255 for value in part) for part in found)
    return replace(config, data=replace(config.data, mean=mean, std=std))


def _with_network(config: Config, network: PyfuntNetwork) -> Config:
    known = {f.name: getattr(network.config, f.name) for f in fields(network.config) if f.name in FROM_NPY}
    return replace(config, model=replace(config.model, **known))


def _vector(layout: ParamLayout, tensors: dict[str, Floats], path: Path) -> F32:
    """The arrays of a layout as one flat vector. Raises DataError if one is missing or has another shape."""
    flat = np.empty(layout.size, np.float32)
    for name, view in layout.views(flat).items():
        array = tensors.get(name)
        if array is None:
            raise DataError(f"{path} has no {name}, which the network needs: describe its network with flags")
        if array.shape != view.shape:
            raise DataError(f"{path}: {name} has shape {array.shape}, the network needs {view.shape}: another network?")
        view[...] = array
    return flat


def _checked_checkpoint(path: Path) -> Path:
    """The path, if a checkpoint may be written there: checked before the work. Raises UsageError."""
    if path.suffix != SUFFIX or path.is_dir():
        raise UsageError(f"{path}: a checkpoint is a file named *{SUFFIX}")
    return path


def _write_checkpoint(state: TrainingState, facts: RunFacts, term: int, path: Path) -> None:
    """Writes the checkpoint completely or not at all. Raises CheckpointError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, pack(state, facts, term))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}") from error
