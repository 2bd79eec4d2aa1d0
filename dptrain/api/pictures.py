"""The pictures of a trained network, each a matplotlib figure. How they are drawn: explain/. Imports the kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dptrain.api.fooling import Fooling
from dptrain.api.trained import Trained, open_trained_data
from dptrain.data.shards import ShardSource
from dptrain.errors import DataError, UsageError
from dptrain.explain.confusion import class_table, confusion_matrix, draw_confusion
from dptrain.explain.fooling import Attempt, Fooled, draw_fooled, fool, noise_images
from dptrain.explain.frozen import Frozen
from dptrain.explain.misclassified import Scores, draw_misclassified, images_of, pick, score
from dptrain.explain.saliency import draw_filters, draw_saliency, gradient, smooth_gradient
from dptrain.explain.table import Table
from dptrain.interop.pyfunt import read_pyfunt
from dptrain.nn import ImageShape, build_network, pixel_means
from dptrain.runs.checkpoint import load
from dptrain.runs.shelf import find
from dptrain.types import F32, I64, U8

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Explained:
    """A trained network, its data set, and a copy of the network that has gradients by the pixels."""

    trained: Trained
    source: ShardSource
    network: Frozen
    _scored: dict[str, Scores] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.trained.facts.data.classes

    def scores(self, split: str) -> Scores:
        """The scores of the whole split, computed once. Raises DataError for a split that the run does not have."""
        if split in self._scored:
            return self._scored[split]
        size = self.source.size(split)
        if size == 0:
            raise DataError(f"{self.trained.path}: the run has no {split} split")
        trained = self.trained
        found = score(lambda x: trained.model.logits(trained.params, trained.buffers, x), self.source, split)
        self._scored[split] = found
        return found

    def images(self, split: str) -> U8:
        """(n, h, w, c): the whole split, as the network sees it."""
        return self.source.evaluation(split, 0, self.source.size(split))[0]


def open_explained(trained: Trained, data_dir: str, networks: tuple[str, ...]) -> Explained:
    """Opens the data set of a trained network. `networks`: as in `load_trained`. Raises DataError and UsageError."""
    facts = trained.facts
    source = open_trained_data(trained, data_dir)
    network = build_network(facts.config.model, ImageShape(*facts.data.image), len(facts.data.classes), networks)
    standard = pixel_means(facts.data.mean, facts.data.image), np.asarray(facts.data.std, np.float32)
    frozen = Frozen(network.network, trained.params, trained.buffers, *standard, facts.config.model.tile)
    return Explained(trained, source, frozen)


def classified_right(explained: Explained, scores: Scores, of: str) -> I64:
    """Numbers of the images classified right, from each class in turn (splits may be sorted). `of`: only this class."""
    right = scores.guesses == scores.labels
    if of:
        right &= scores.labels == class_number(explained, of)
    numbers = np.flatnonzero(right)
    labels = scores.labels[numbers]
    turn = np.empty(len(numbers), np.int64)  # how many of its class come before it
    for label in np.unique(labels):
        own = labels == label
        turn[own] = np.arange(own.sum())
    return numbers[np.argsort(turn, kind="stable")]


def class_number(explained: Explained, name: str) -> int:
    """The number of a class, from its name (in any case) or number. Raises UsageError."""
    names = [known.lower() for known in explained.classes]
    if name.lower() in names:
        return names.index(name.lower())
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise UsageError(f"there is no class {name!r}: there are {', '.join(explained.classes)}, or 0 to {len(names) - 1}")


class Tried(NamedTuple):
    """Images that were changed to fool the network, and the texts over the first and the last panel of each."""

    fooled: Fooled
    before: list[str]
    after: list[str]

    def first(self, count: int) -> Tried:
        """The first `count` images."""
        f = self.fooled
        parts = (f.start[:count], f.end[:count], f.probabilities[:count], f.steps[:count], f.success[:count])
        return Tried(Fooled(*parts), self.before[:count], self.after[:count])

    def verdict(self, asked: Fooling) -> str:
        """How often it succeeded, in one line."""
        f = self.fooled
        won = np.flatnonzero(f.success)
        text = f"{len(won)} of {len(f.success)} succeeded ({f.rate:.0%}): p(target) >= {asked.confidence:g} within "
        text += f"{asked.cap} steps of {asked.step:g}"
        if not len(won):
            return text
        change = float(np.abs(f.end[won] - f.start[won]).mean())
        return f"{text}; median {np.median(f.steps[won]):.0f} steps, mean change {change:.2f} of 255"


def fooled_images(explained: Explained, split: str, asked: Fooling) -> Tried:
    """Tries to fool the network. Without a target, the target of each image is the next class. Raises UsageError and
    DataError.
    """
    names = explained.classes
    if asked.start == "noise":
        start = noise_images(asked.count, explained.trained.facts.data.image, asked.seed)
        labels = np.argmax(explained.network.logits(start), axis=1)
        before = ["noise"] * asked.count
    else:
        scores = explained.scores(split)
        chosen = classified_right(explained, scores, "")[: asked.count]
        start, labels = explained.images(split)[chosen].astype(np.float32), scores.labels[chosen]
        before = [f"{names[int(i)]}\np {scores.probabilities[s, i]:.2f}" for s, i in zip(chosen, labels, strict=True)]
    targets = (labels + 1) % len(names)
    if asked.target:
        targets = np.full(len(labels), class_number(explained, asked.target))
    kept = np.flatnonzero(labels != targets)  # an image of the target class shows nothing
    if not len(kept):
        raise UsageError("every image tried is of the target class already: choose another --target")
    attempt = Attempt(asked.confidence, asked.step, asked.pull, asked.cap)
    fooled = fool(explained.network, start[kept], targets[kept], attempt)
    after = [
        f"{names[int(t)]}\np {p:.2f}{'' if good else ' (failed)'}"
        for t, p, good in zip(targets[kept], fooled.probabilities, fooled.success, strict=True)
    ]
    return Tried(fooled, [before[int(i)] for i in kept], after)


def confusion(explained: Explained, split: str) -> tuple[Figure, Table]:
    """The confusion matrix, one row per true class; and accuracy, precision and the most common mistake per class."""
    scores = explained.scores(split)
    matrix = confusion_matrix(scores.labels, scores.guesses, len(explained.classes))
    title = f"{split}: accuracy {float(np.trace(matrix)) / len(scores.labels):.4f}"
    return draw_confusion(matrix, explained.classes, title), class_table(matrix, explained.classes)


def misclassified(explained: Explained, split: str, count: int) -> Figure | None:
    """The most certain mistakes: truth upper left, guess lower left, second guess lower right. None: there are none."""
    _at_least_one(count)
    scores = explained.scores(split)
    wrong = len(scores.wrong())
    if not wrong:
        return None
    shown = "the most certain first" if wrong <= count else f"the {count} most certain"
    title = f"{wrong:,} of {len(scores.labels):,} {split} images are wrong; {shown}"
    images = images_of(explained.images(split), scores, count)
    return draw_misclassified(images, pick(scores, count), explained.classes, title)


def saliency(explained: Explained, split: str, count: int, of: str = "") -> Figure | None:
    """Which pixels the score of the true class depends on, of images classified right; None: there are none.

    `of`: only images of this class, by name or number.
    """
    _at_least_one(count)
    scores = explained.scores(split)
    chosen = classified_right(explained, scores, of)[:count]
    if not len(chosen):
        return None
    images, labels = explained.images(split)[chosen], scores.labels[chosen]
    maps = [
        ("gradient", gradient(explained.network, images, labels)),
        ("SmoothGrad", smooth_gradient(explained.network, images, labels)),
    ]
    return draw_saliency(images, maps, [explained.classes[int(label)] for label in labels])


def fooled(explained: Explained, split: str, asked: Fooling) -> tuple[Figure, str]:
    """Images changed until they are taken for another class; and how often that succeeds, in a line."""
    tried = fooled_images(explained, split, asked)
    shown = tried.first(asked.show)
    return draw_fooled(shown.fooled, shown.before, shown.after), tried.verdict(asked)


def filters(weights: Path) -> Figure:
    """Of the first convolution, of a checkpoint or of PyFunt's model.npy. Raises UsageError where there is none."""
    title, array = _first_layer(weights)
    return draw_filters(array, title)


def _first_layer(weights: Path) -> tuple[str, F32]:
    """A title, and the first convolution's weights (k, c, r, s)."""
    if weights.suffix == ".npy":
        found = read_pyfunt(weights)
        if "W1" not in found or found["W1"].ndim != 4:
            raise UsageError(f"{weights} has no W1 of four dimensions: no first convolution to draw")
        return f"first layer of {weights.name} (PyFunt)", found["W1"].astype(np.float32)
    checkpoint = load(find(weights))
    four = [name for name, array in checkpoint.tensors.items() if name.startswith("model.") and array.ndim == 4]
    name = "model.conv1.weight" if "model.conv1.weight" in four else next(iter(four), "")
    if not name:
        raise UsageError(f"{checkpoint.path}: the network has no convolution")
    title = f"{name.removeprefix('model.')}, {checkpoint.facts.model}, step {checkpoint.step:,}"
    return title, checkpoint.tensors[name]


def _at_least_one(count: int) -> None:
    if count < 1:
        raise UsageError(f"count = {count}: must be 1 or more")
