"""The images a network got wrong, as in the seeds' MNIST figure: truth upper left, guess lower left, second guess lower
right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dptrain.analysis.drawing import OTHER, RIGHT, WRONG, bare, figure, looks
from dptrain.analysis.scores import Scores
from dptrain.types import U8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 12  #: characters of a class's name
_NARROWEST = 4.6  #: inches that the legend needs, below one image, too


def draw_misclassified(images: U8, scores: Scores, classes: Sequence[str], title: str) -> Figure:
    """images: (n, h, w, c), those of the n samples in `scores`."""
    count, grey = len(images), images.shape[3] == 1
    columns = max(1, min(count, 8))
    rows = max(1, -(-count // columns))
    names = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in classes]
    # Short names stand side by side under an image; long ones, below each other.
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
            for x, y, side, vertical, told, colour in (
                (0.0, 1.03, "left", "bottom", names[int(label)], RIGHT),
                (0.0, -0.03, "left", "top", f"{names[int(order[0])]} {odds[order[0]]:.2f}", WRONG),
                (1.0, -second, "right", "top", names[int(order[1])], OTHER),
            ):
                axis.text(x, y, told, ha=side, va=vertical, color=colour, fontsize=size, transform=axis.transAxes)
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
