"""The scores of a split, and a picture of the images that were classified wrong, as in the predecessors' figure of
MNIST: true class upper left, guess lower left, second guess lower right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dptrain.data.shards import ShardSource
from dptrain.explain.drawing import OTHER, RIGHT, WRONG, bare, figure, looks
from dptrain.kernels import loss
from dptrain.types import F32, F64, I64, U8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BATCH = 256  #: images scored at once
_LONGEST = 12  #: characters of a class name that are shown
_NARROWEST = 4.6  #: inches that the legend needs


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores of the images of one split, in its order."""

    labels: I64  #: (n,)
    probabilities: F64  #: (n, classes)

    @property
    def order(self) -> I64:
        """(n, classes): classes from the most to the least probable; for equal ones the lower number first."""
        return np.argsort(-self.probabilities, axis=1, kind="stable")

    @property
    def guesses(self) -> I64:
        """(n,): the most probable class."""
        return self.order[:, 0]

    def wrong(self) -> I64:
        """Numbers of the images that are classified wrong, the most certain mistake first."""
        guesses = self.guesses
        found = np.flatnonzero(guesses != self.labels)
        return found[np.argsort(-self.probabilities[found, guesses[found]], kind="stable")]


def score(logits: Callable[[U8], F32], source: ShardSource, split: str) -> Scores:
    """Scores the whole split."""
    labels, probabilities, size = [], [], source.size(split)
    for at in range(0, size, _BATCH):
        x, y = source.evaluation(split, at, min(size, at + _BATCH))
        labels.append(y)
        probabilities.append(loss.probabilities(logits(x)))
    return Scores(np.concatenate(labels), np.concatenate(probabilities))


def draw_misclassified(images: U8, scores: Scores, classes: Sequence[str], title: str) -> Figure:
    """images: (n, h, w, c), those of `scores`."""
    count, grey = len(images), images.shape[3] == 1
    columns = max(1, min(count, 8))
    rows = max(1, -(-count // columns))
    names = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in classes]
    # Short names fit side by side under an image; long ones are put below each other.
    short = max(map(len, names)) <= 4
    size, height = (9, 1.6) if short else (6.5, 1.7)
    with looks():
        drawn = figure(max(_NARROWEST, 1.15 * columns + 0.2), height * rows + 0.6)
        drawn.set_layout_engine("constrained", h_pad=0.13)  # a second guess stays with its image
        drawn.suptitle(title, fontsize=10)
        axes = drawn.subplots(rows, columns, squeeze=False).reshape(-1)
        for axis in axes:
            bare(axis)
        for axis, image, label, order, odds in zip(
            axes, images, scores.labels, scores.order, scores.probabilities, strict=False
        ):
            axis.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)
            second = (0.0 if short else 0.14) + 0.03
            for x, y, side, vertical, text, colour in (
                (0.0, 1.03, "left", "bottom", names[int(label)], RIGHT),
                (0.0, -0.03, "left", "top", f"{names[int(order[0])]} {odds[order[0]]:.2f}", WRONG),
                (1.0, -second, "right", "top", names[int(order[1])], OTHER),
            ):
                axis.text(x, y, text, ha=side, va=vertical, color=colour, fontsize=size, transform=axis.transAxes)
        legend = "upper left: true class   lower left: guess and its probability   lower right: second guess"
        drawn.supxlabel(legend, fontsize=7, color=OTHER)
        return drawn


def pick(scores: Scores, count: int) -> Scores:
    """The `count` most certain mistakes."""
    chosen = scores.wrong()[:count]
    return Scores(scores.labels[chosen], scores.probabilities[chosen])


def images_of(images: U8, scores: Scores, count: int) -> U8:
    """The images of `pick`, from those of the whole split."""
    return np.ascontiguousarray(images[scores.wrong()[:count]])
