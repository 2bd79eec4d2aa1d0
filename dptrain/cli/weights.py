"""`dptrain import`: weights that another program trained, as a checkpoint of ours."""

from __future__ import annotations

import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from dptrain.cli.flags import Recipe, takes_settings, texts
from dptrain.errors import DataError, UsageError
from dptrain.recipefile import resolve
from dptrain.settings import SETTINGS, Config

if TYPE_CHECKING:
    from dptrain.interop.pyfunt import PyfuntNetwork
    from dptrain.model import ParamLayout
    from dptrain.types import F32, Floats


@takes_settings("data_dir", "isa", "networks")
def reestimate(
    checkpoint: Annotated[Path, Parameter(help="run directory, or .safetensors file")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="file [RUN/reestimated.safetensors]")] = None,
    over: Annotated[int, Parameter(help="training samples to measure over; 0: all")] = 0,
    **flags: str | bool,
) -> int:
    """Measure BatchNorm's running statistics anew, over training shards with the weights as they are; leave the
    checkpoint as it is, and write another one for eval, predict and explain.
    """
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    from dptrain.api.reestimate import checked_checkpoint, measured, write_checkpoint  # the same
    from dptrain.api.trained import load_trained, open_trained_data  # imports Numba: only now is the ISA known
    from dptrain.runs.checkpoint import load

    file = checked_checkpoint(
        out or (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "reestimated.safetensors"
    )
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
    sys.stdout.write(f"{file}: statistics of {found.samples:,} samples, weights of step {trained.step:,}\n")
    return 0


_IDENTITY = tuple(name for name, each in SETTINGS.items() if each.identity)
_TOLD = ("n", "filters", "hidden", "block", "shortcut")  #: by a model.npy itself


@takes_settings(*_IDENTITY, "data_dir", "isa", "networks")
def import_weights(
    weights: Annotated[Path, Parameter(help="PyFunt's model.npy, or a state_dict of PyTorch (.pt, .pth, .th)")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="file [WEIGHTS.safetensors]")] = None,
    recipe: Recipe = "",
    over: Annotated[int, Parameter(help="training samples for BatchNorm's statistics; 0: all")] = 0,
    right_relu: Annotated[bool, Parameter(negative=(), help="of PyFunt: ReLU was mended before the training")] = False,
    **flags: str | bool,
) -> int:
    """Make a checkpoint of weights from elsewhere, for eval, predict and explain. Data set, normalisation and the
    network (but for a model.npy) are said by flags; BatchNorm's statistics are measured where the file has none.
    """
    given = texts(flags)
    config = resolve(recipe, os.environ, given)
    os.environ["DPTRAIN_ISA"] = config.deployment.isa
    from dptrain.api.reestimate import checked_checkpoint, measured, write_checkpoint  # imports Numba
    from dptrain.kernels import isa
    from dptrain.runs.manifest import find_facts
    from dptrain.workers.parts import first_state, open_parts

    file = checked_checkpoint(out or weights.with_suffix(".safetensors"))
    if weights.suffix == ".npy":
        network = _pyfunt(weights, upside_down=not right_relu)
        if said := [name for name in _TOLD if name in given]:
            raise UsageError(f"{SETTINGS[said[0]].flag}: {weights} says that itself; leave it out")
        config, tensors = _with_network(config, network), network.tensors
    else:
        from dptrain.interop.torchfile import read_torch

        tensors = {name: array.astype(np.float32) for name, array in read_torch(weights).items()}
    parts = open_parts(config, config.deployment.data_dir)
    state = first_state(parts)
    state.params = _vector(parts.model.params, tensors, weights)
    if any(spec.name in tensors for spec in parts.model.buffers.specs):
        state.buffers = _vector(parts.model.buffers, tensors, weights)
        told = "with the BatchNorm statistics of the file"
    else:
        found = measured(parts.model, state.params, parts.source, max(0, over))
        state.buffers, told = found.buffers, f"BatchNorm statistics of {found.samples:,} training samples"
    known = {spec.name for layout in (parts.model.params, parts.model.buffers) for spec in layout.specs}
    if strange := sorted(set(tensors) - known):
        raise UsageError(f"{weights} has {strange[0]}, which this network has not (dptrain describe prints it)")
    facts = find_facts(config, parts.source, parts.model, isa.NUMERICS)
    write_checkpoint(state, facts, 1, file)
    sys.stdout.write(f"{file}: {facts.model}, {told}\n")
    return 0


def _pyfunt(path: Path, *, upside_down: bool) -> PyfuntNetwork:
    from dptrain.interop.pyfunt import our_network, read_pyfunt

    return our_network(read_pyfunt(path), path, upside_down=upside_down)


def _with_network(config: Config, network: PyfuntNetwork) -> Config:
    told = {f.name: getattr(network.config, f.name) for f in fields(network.config) if f.name in _TOLD}
    return replace(config, model=replace(config.model, **told))


def _vector(layout: ParamLayout, tensors: dict[str, Floats], path: Path) -> F32:
    """The arrays of a layout as one flat vector. Raises DataError where one is missing, or has another shape."""
    flat = np.empty(layout.size, np.float32)
    for name, view in layout.views(flat).items():
        array = tensors.get(name)
        if array is None:
            raise DataError(f"{path} has no {name}, which the network needs: say by flags which network it is of")
        if array.shape != view.shape:
            raise DataError(f"{path}: {name} has shape {array.shape}, the network wants {view.shape}: another network?")
        view[...] = array
    return flat
