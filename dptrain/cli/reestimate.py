"""`dptrain reestimate`: BatchNorm's running statistics of a checkpoint, measured anew on the training set."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from dptrain.cli.flags import takes_config, texts
from dptrain.configfile import resolve
from dptrain.errors import UsageError


@takes_config("data_dir", "isa", "networks")
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
    from dptrain.api.trained import load_trained, open_trained_data  # imports Numba: only now is the ISA known
    from dptrain.cli.remeasuring import checked_checkpoint, measured, write_checkpoint  # the same
    from dptrain.run.checkpoint import load

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
