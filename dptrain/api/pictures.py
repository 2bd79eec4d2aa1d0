"""The pictures of a trained network, each a matplotlib figure. How they are drawn: analysis/. Imports the kernels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dptrain.analysis.confusion import class_table, confusion_matrix, draw_confusion
from dptrain.analysis.filters import draw_filters
from dptrain.analysis.fooling import draw_fooled
from dptrain.analysis.misclassified import draw_misclassified, images_of, pick
from dptrain.analysis.saliency import draw_saliency, gradient, smooth_gradient
from dptrain.analysis.table import Table
from dptrain.api.explained import Explained, classified_right, fooled_images
from dptrain.api.fooling import Fooling
from dptrain.errors import UsageError
from dptrain.run.checkpoint import load
from dptrain.run.pyfuntmodel import read_pyfunt
from dptrain.run.shelf import find
from dptrain.types import F32

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion(explained: Explained, split: str) -> tuple[Figure, Table]:
    """The matrix, a row a true class; and accuracy, precision and the commonest mistake class by class."""
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
