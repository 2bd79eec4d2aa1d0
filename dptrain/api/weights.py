"""Checkpoints made without training: with BatchNorm statistics measured again, or of weights from another program."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.api.reestimate import checked_checkpoint, measured, write_checkpoint
from dptrain.api.trained import load_trained, open_trained_data
from dptrain.errors import DataError, UsageError
from dptrain.interop.pyfunt import PyfuntNetwork, our_network, read_pyfunt
from dptrain.interop.torchfile import read_torch
from dptrain.kernels import isa
from dptrain.model import ParamLayout
from dptrain.runs.checkpoint import load
from dptrain.runs.manifest import find_facts
from dptrain.settings import Config, DeploymentConfig
from dptrain.types import F32, Floats
from dptrain.workers.parts import first_state, open_parts

#: Settings of the network that a model.npy of PyFunt determines.
FROM_NPY = ("n", "filters", "hidden", "block", "shortcut")


class Written(NamedTuple):
    """A checkpoint that was written."""

    path: Path
    about: str  #: what is in it, for the user


def reestimate(checkpoint: Path, out: Path, over: int, deployment: DeploymentConfig) -> Written:
    """Measures BatchNorm's running statistics over `over` training images (0: all), with the weights as they are.

    The result is written to `out`; the checkpoint stays as it is. Raises UsageError for a network without BatchNorm.
    """
    file = checked_checkpoint(out)
    trained = load_trained(checkpoint, deployment.networks)
    model = trained.model
    if not model.buffers.size:
        raise UsageError(f"{trained.path}: the network has no BatchNorm, so there is nothing to measure")
    found = measured(model, trained.params, open_trained_data(trained, deployment.data_dir), max(0, over))
    stored = load(trained.path)
    state = stored.state(model.params, model.buffers)
    state.buffers = found.buffers
    nothing = np.zeros(0, np.float32)
    state.best_accuracy, state.best_params, state.best_buffers = -1.0, nothing, nothing
    write_checkpoint(state, trained.facts, stored.term, file)
    return Written(file, f"statistics of {found.samples:,} images, weights of step {trained.step:,}")


def import_weights(weights: Path, out: Path, config: Config, over: int, *, right_relu: bool) -> Written:
    """Writes a checkpoint of PyFunt's model.npy, or of a state_dict of PyTorch.

    The network is that of `config`, except what a model.npy determines. BatchNorm's statistics are measured over `over`
    training images (0: all) where the file has none. `right_relu`: PyFunt's ReLU was fixed before the training. Raises
    DataError and UsageError where the file does not fit the network.
    """
    file = checked_checkpoint(out)
    tensors: dict[str, Floats]
    if weights.suffix == ".npy":
        network = our_network(read_pyfunt(weights), weights, upside_down=not right_relu)
        config, tensors = _with_network(config, network), network.tensors
    else:
        tensors = {name: array.astype(np.float32) for name, array in read_torch(weights).items()}
    parts = open_parts(config, config.deployment.data_dir)
    state = first_state(parts)
    state.params = _vector(parts.model.params, tensors, weights)
    if any(spec.name in tensors for spec in parts.model.buffers.specs):
        state.buffers = _vector(parts.model.buffers, tensors, weights)
        statistics = "with the BatchNorm statistics of the file"
    else:
        found = measured(parts.model, state.params, parts.source, max(0, over))
        state.buffers, statistics = found.buffers, f"BatchNorm statistics of {found.samples:,} training images"
    known = {spec.name for layout in (parts.model.params, parts.model.buffers) for spec in layout.specs}
    if strange := sorted(set(tensors) - known):
        raise UsageError(f"{weights} has {strange[0]}, which this network has not (`dptrain describe` prints it)")
    facts = find_facts(config, parts.source, parts.model, isa.NUMERICS)
    write_checkpoint(state, facts, 1, file)
    return Written(file, f"{facts.model}, {statistics}")


def _with_network(config: Config, network: PyfuntNetwork) -> Config:
    known = {f.name: getattr(network.config, f.name) for f in fields(network.config) if f.name in FROM_NPY}
    return replace(config, model=replace(config.model, **known))


def _vector(layout: ParamLayout, tensors: dict[str, Floats], path: Path) -> F32:
    """The arrays of a layout as one flat vector. Raises DataError where one is missing, or has another shape."""
    flat = np.empty(layout.size, np.float32)
    for name, view in layout.views(flat).items():
        array = tensors.get(name)
        if array is None:
            raise DataError(f"{path} has no {name}, which the network needs: describe its network with flags")
        if array.shape != view.shape:
            raise DataError(f"{path}: {name} has shape {array.shape}, the network needs {view.shape}: another network?")
        view[...] = array
    return flat
