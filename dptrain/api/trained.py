"""Loss and accuracy of a trained network on one split of its data set. Imports the kernels."""

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
from dptrain.nn.criterion import Criterion, make_criterion
from dptrain.runs.checkpoint import load
from dptrain.runs.manifest import RunFacts
from dptrain.runs.shelf import find
from dptrain.state import layout_digest
from dptrain.types import F32, F64, I64


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


def views(source: ShardSource, *, five: bool) -> tuple[str, ...]:
    """Which there are. Raises UsageError where five are asked for and training crops nothing."""
    known = source.pipeline.views
    if five and len(known) == 1:
        names = ", ".join(operation.name for operation in source.pipeline.operations) or "nothing"
        raise UsageError(f"five crops need a crop or window in the run's augmentation, which is {names}")
    return known if five else known[:1]


def scores(
    trained: Trained, source: ShardSource, split: str, span: tuple[int, int], seen: tuple[str, ...]
) -> tuple[F32, I64]:
    """Logits (n, classes) and labels of samples [start, stop). Of several views: log of the mean probability; the mean
    score where the run's criterion makes no probabilities of scores.
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
    """The log of the mean over the views of the softmax of their logits, in float64 until the end."""
    total: F64 = np.zeros(logits[0].shape)
    for one in logits:
        odds = elementary.exp(one.astype(np.float64) - one.max(axis=1, keepdims=True))
        total += odds / odds.sum(axis=1, keepdims=True)
    # A probability of 0 is a loss of 745, not of infinity.
    return elementary.log(np.maximum(total / len(logits), 5e-324)).astype(np.float32)


_BATCH = 256  #: samples scored between two calls of `watch`


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Of the samples of one class."""

    name: str
    samples: int
    hits: int

    @property
    def accuracy(self) -> float:
        """0 where there is no sample of it."""
        return self.hits / max(1, self.samples)


@dataclass(frozen=True, slots=True)
class Score:
    """Of one split."""

    split: str
    samples: int
    step: int  #: of the weights
    loss: float  #: mean, by the criterion of the run
    accuracy: float
    accuracy5: float  #: the right class is among the first five
    classes: tuple[ClassScore, ...]


def score(
    trained: Trained, source: ShardSource, split: str, *, five: bool = False, watch: Callable[[int, int], None]
) -> Score:
    """`five`: mean over the middle and the four corner crops. `watch` is told (samples scored, all of them).

    Raises DataError for a split the run has not; UsageError for five crops of images that are not cropped.
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
        loss=sum(losses.tolist()) / (trained.criterion.count(labels) or 1.0),
        accuracy=int((ranks == 0).sum()) / size,
        accuracy5=int((ranks < 5).sum()) / size,
        classes=tuple(_of_class(number, name, ranks, labels) for number, name in enumerate(trained.facts.data.classes)),
    )


def _of_class(number: int, name: str, ranks: I64, labels: I64) -> ClassScore:
    mine = ranks[labels == number]
    return ClassScore(name, len(mine), int((mine == 0).sum()))
