"""From a checkpoint or run directory to a network with its weights. Imports the kernels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dptrain.cluster.state import layout_digest
from dptrain.data.shards import ShardSource, open_source
from dptrain.engine import build
from dptrain.errors import CheckpointError, DataError
from dptrain.model import Model
from dptrain.nn.criterion import Criterion, make_criterion
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
    criterion: Criterion  #: the run's own: what its losses were measured with


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
        path,
        facts,
        checkpoint.step,
        model,
        checkpoint.vector(model.params),
        checkpoint.vector(model.buffers),
        make_criterion(facts.config.model.criterion, facts.config.model.class_weights, classes),
    )


def open_trained_data(trained: Trained, data_dir: str) -> ShardSource:
    """The data set the network was trained on. Raises DataError where it is another one here."""
    facts = trained.facts
    source = open_source(facts.config.data, facts.config.training, data_dir)
    if source.dataset.sha256 != facts.data.sha256:
        raise DataError(
            f"{trained.path} was trained on {facts.data.name} {facts.data.sha256[:12]}, "
            f"but the data set here is {source.dataset.sha256[:12]}: other files under the same name"
        )
    return source
