"""`dptrain import`: weights that another program trained, as a checkpoint of ours."""

from __future__ import annotations

import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from dptrain.cli.flags import spelling, takes_config, texts
from dptrain.config import SECTION_OF, Config
from dptrain.configfile import resolve
from dptrain.errors import DataError, UsageError

if TYPE_CHECKING:
    from dptrain.model import ParamLayout
    from dptrain.run.pyfuntnetwork import PyfuntNetwork
    from dptrain.types import F32, Floats

_IDENTITY = tuple(name for name, section in SECTION_OF.items() if section != "deployment")
_TOLD = ("n", "filters", "hidden", "block", "shortcut")  #: by a model.npy itself


@takes_config(*_IDENTITY, "data_dir", "isa", "networks")
def import_weights(
    weights: Annotated[Path, Parameter(help="PyFunt's model.npy, or a state_dict of PyTorch (.pt, .pth, .th)")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="file [WEIGHTS.safetensors]")] = None,
    recipe: Annotated[str, Parameter(["--recipe", "--config", "-c"], help="TOML file, or name of a shipped one")] = "",
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
    from dptrain.cli.remeasuring import checked_checkpoint, measured, write_checkpoint  # imports Numba
    from dptrain.kernels import isa
    from dptrain.run.facts import find_facts
    from dptrain.workers.parts import first_state, open_parts

    file = checked_checkpoint(out or weights.with_suffix(".safetensors"))
    if weights.suffix == ".npy":
        network = _pyfunt(weights, upside_down=not right_relu)
        if said := [name for name in _TOLD if name in given]:
            raise UsageError(f"{spelling(said[0])}: {weights} says that itself; leave it out")
        config, tensors = _with_network(config, network), network.tensors
    else:
        from dptrain.run.torchfile import read_torch

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
    from dptrain.run.pyfuntmodel import read_pyfunt
    from dptrain.run.pyfuntnetwork import our_network

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
