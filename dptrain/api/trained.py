"""A trained network, opened with its data set, and its loss and accuracy on one split. Imports the kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.shards import ShardSource, open_source
from dptrain.engine import build
from dptrain.errors import CheckpointError, DataError, UsageError
from dptrain.kernels import elementary, loss
from dptrain.model import Model
from dptrain.nn.criterion import Criterion, added, make_criterion
from dptrain.runs.checkpoint import load
from dptrain.runs.manifest import RunFacts
from dptrain.runs.shelf import find
from dptrain.state import layout_digest
from dptrain.types import F32, F64, I64

_BATCH = 256  #: images scored between two calls of `watch`


class Trained(NamedTuple):
    """A network with the weights of a checkpoint file."""

    path: Path
    facts: RunFacts
    step: int
    model: Model
    params: F32
    buffers: F32
    criterion: Criterion  #: of the run: its losses were measured with it


@dataclass(frozen=True, slots=True)
class ClassScore:
    """The score of one class."""

    name: str
    samples: int  #: images
    hits: int

    @property
    def accuracy(self) -> float:
        """0 if the split has no image of the class."""
        return self.hits / max(1, self.samples)


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one split."""

    split: str
    samples: int  #: images
    step: int  #: of the weights
    loss: float  #: mean, by the criterion of the run
    accuracy: float
    accuracy5: float  #: part of the images whose class is among the first five guesses
    classes: tuple[ClassScore, ...]


def load_trained(target: Path, networks: tuple[str, ...] = ()) -> Trained:
    """Opens a .safetensors file, or the best (else the last) checkpoint of a run directory.

    `networks`: Python files whose networks may be run here. The checkpoint cannot grant that permission.
    Raises CheckpointError, and UsageError for a network that is not allowed.
    """
    path = find(target)
    checkpoint = load(path)
    if target.is_dir() and checkpoint.step == 0:
        raise CheckpointError(f"{target} has made no step: its weights are still random; train it first")
    facts = checkpoint.facts
    classes, (mean, std) = len(facts.data.classes), (facts.data.mean, facts.data.std)
    of = facts.config.model
    model = build(of, facts.data.image, classes, mean, std, files=networks)
    layout = layout_digest(model.params, model.buffers)
    if layout != facts.layout:
        raise CheckpointError(f"{path}: made for a network of another layout ({facts.layout[:12]}, here {layout[:12]})")
    return Trained(
        path,
        facts,
        checkpoint.step,
        model,
        checkpoint.vector(model.params),
        checkpoint.vector(model.buffers),
        make_criterion(of.criterion, of.class_weights, classes, of.label_smoothing),
    )


def open_trained_data(trained: Trained, data_dir: str) -> ShardSource:
    """The data set on which the network was trained. Raises DataError if the one found here differs."""
    facts = trained.facts
    source = open_source(facts.config.data, facts.config.training, data_dir)
    if source.dataset.sha256 != facts.data.sha256:
        raise DataError(
            f"{trained.path} was trained on {facts.data.name} {facts.data.sha256[:12]}, "
            f"but the data set here is {source.dataset.sha256[:12]}: its files differ"
        )
    return source


def score(
    trained: Trained, source: ShardSource, split: str, *, five: bool = False, watch: Callable[[int, int], None]
) -> Score:
    """Scores a split. `five`: mean over the center crop and the four corner crops. Calls `watch(scored, all)` images.

    Raises DataError for a split that the run does not have, UsageError for five crops of images that are not cropped.
    """
    size = source.size(split)
    if size == 0:
        validation = trained.facts.config.data.validation
        raise DataError(f"{trained.path}: the run has no {split} split (validation = {validation})")
    seen = views(source, five=five)
    found: list[tuple[F64, I64, I64]] = []  #: loss, rank of the right class, right class
    for at in range(0, size, _BATCH):
        stop = min(size, at + _BATCH)
        logits, y = scores(trained, source, split, (at, stop), seen)
        found.append((trained.criterion(logits, y)[0], loss.ranks(logits, y), y))
        watch(stop, size)
    losses, ranks, labels = map(np.concatenate, zip(*found, strict=True))
    return Score(
        split,
        samples=size,
        step=trained.step,
        loss=added(losses.tolist()) / (trained.criterion.count(labels) or 1.0),
        accuracy=int((ranks == 0).sum()) / size,
        accuracy5=int((ranks < 5).sum()) / size,
        classes=tuple(_of_class(number, name, ranks, labels) for number, name in enumerate(trained.facts.data.classes)),
    )


def _of_class(number: int, name: str, ranks: I64, labels: I64) -> ClassScore:
    mine = ranks[labels == number]
    return ClassScore(name, len(mine), int((mine == 0).sum()))


def views(source: ShardSource, *, five: bool) -> tuple[str, ...]:
    """The views that are scored. Raises UsageError if five are asked for and training does not crop."""
    known = source.pipeline.views
    if five and len(known) == 1:
        names = ", ".join(operation.name for operation in source.pipeline.operations) or "nothing"
        raise UsageError(f"five crops need a crop or window in the run's augmentation, which is {names}")
    return known if five else known[:1]


def scores(
    trained: Trained, source: ShardSource, split: str, span: tuple[int, int], seen: tuple[str, ...]
) -> tuple[F32, I64]:
    """Logits (n, classes) and labels of images [start, stop).

    For several views: the logarithm of the mean probability, or the mean score if the run's criterion does not define
    probabilities (hinge, bce).
    """
    logits, labels = [], np.empty(0, np.int64)
    for view in seen:
        x, labels = source.evaluation(split, *span, view)
        logits.append(trained.model.logits(trained.params, trained.buffers, x))
    if len(seen) == 1:
        return logits[0], labels
    if trained.facts.config.model.criterion in ("hinge", "bce"):
        return np.asarray(np.mean(logits, axis=0, dtype=np.float64), np.float32), labels
    return combined(logits), labels


def combined(logits: list[F32]) -> F32:
    """The logarithm of the mean softmax over the views, computed in float64."""
    total: F64 = np.zeros(logits[0].shape)
    for one in logits:
        odds = elementary.exp(one.astype(np.float64) - one.max(axis=1, keepdims=True))
        total += odds / odds.sum(axis=1, keepdims=True)
    # A probability of 0 becomes a loss of 745, not infinity.
    return elementary.log(np.maximum(total / len(logits), 5e-324)).astype(np.float32)
