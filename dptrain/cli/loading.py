"""From a checkpoint or run directory on the command line to a network with its weights. Imports the kernels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dptrain.cluster.state import layout_digest
from dptrain.engine import build
from dptrain.errors import CheckpointError
from dptrain.model import Model
from dptrain.run.checkpoint import load
from dptrain.run.facts import RunFacts
from dptrain.run.shelf import find
from dptrain.types import F32


class Trained(NamedTuple):
    """A network and the weights a file holds for it."""

    path: Path
    facts: RunFacts
    step: int
    model: Model
    params: F32
    buffers: F32


def load_trained(target: Path, networks: tuple[str, ...] = ()) -> Trained:
    """A .safetensors file, or the best (else the last) checkpoint of a run directory.

    `networks`: Python files whose networks may be run here; what the checkpoint says of that counts for nothing.
    Raises CheckpointError, and UsageError for a network that is not allowed.
    """
    path = find(target)
    checkpoint = load(path)
    facts = checkpoint.facts
    classes, (mean, std) = len(facts.data.classes), (facts.data.mean, facts.data.std)
    model = build(facts.config.model, facts.data.image, classes, mean, std, files=networks)
    layout = layout_digest(model.params, model.buffers)
    if layout != facts.layout:
        raise CheckpointError(
            f"{path}: made for another layout of the network ({facts.layout[:12]}, here {layout[:12]})"
        )
    return Trained(
        path, facts, checkpoint.step, model, checkpoint.vector(model.params), checkpoint.vector(model.buffers)
    )
