"""The confusion matrix, its picture, and a table of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dptrain.explain.drawing import figure, looks
from dptrain.explain.table import Table
from dptrain.types import I64

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class ClassRow:
    """The figures of one class."""

    name: str
    samples: int  #: images of the class
    hits: int  #: images of the class that were classified right
    taken: int  #: images of any class that were classified as this one
    confused: str  #: the class for which its images are mistaken most often; "": none
    confused_count: int

    @property
    def recall(self) -> float:
        """Accuracy on its own images; 0 if there are none."""
        return self.hits / self.samples if self.samples else 0.0

    @property
    def precision(self) -> float:
        """Part of the images classified as this class that belong to it; 0 if there are none."""
        return self.hits / self.taken if self.taken else 0.0


def confusion_matrix(labels: I64, guesses: I64, classes: int) -> I64:
    """(classes, classes) of counts: one row per true class, one column per guess."""
    return np.bincount(labels * classes + guesses, minlength=classes * classes).reshape(classes, classes)


def class_rows(matrix: I64, names: Sequence[str]) -> list[ClassRow]:
    """One row per class, in order."""
    rows = []
    for number, name in enumerate(names):
        others = matrix[number].copy()
        others[number] = 0
        most = int(others.argmax())
        count = int(others[most])
        own = matrix[number]
        column = int(matrix[:, number].sum())
        rows.append(ClassRow(name, int(own.sum()), int(own[number]), column, names[most] if count else "", count))
    return rows


def class_table(matrix: I64, names: Sequence[str]) -> Table:
    """The rows as a table."""
    rows = [
        (r.name, str(r.samples), str(r.hits), f"{r.recall:.4f}", f"{r.precision:.4f}", _mistake(r))
        for r in class_rows(matrix, names)
    ]
    return Table(("class", "images", "hits", "recall", "precision", "most often mistaken for"), rows)


def _mistake(row: ClassRow) -> str:
    return f"{row.confused} ({row.confused_count})" if row.confused else ""


def draw_confusion(matrix: I64, names: Sequence[str], title: str) -> Figure:
    """The matrix, shaded by the part of the true class; with numbers in the cells for up to 20 classes."""
    count = len(names)
    parts = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = max(3.2, 0.42 * count + 1.6) if count <= 20 else 9.0
    with looks():
        drawn = figure(side + 0.6, side)
        axes = drawn.subplots()
        axes.grid(visible=False)
        shown = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
        axes.set(title=title, xlabel="guess", ylabel="true class")
        if count <= 50:
            axes.set_xticks(range(count), names, rotation=90, fontsize=7)
            axes.set_yticks(range(count), names, fontsize=7)
        if count <= 20:
            for row, column in np.argwhere(matrix > 0):
                colour = "white" if parts[row, column] > 0.5 else "black"
                axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=6.5, color=colour)
        drawn.colorbar(shown, ax=axes, label="part of the true class", shrink=0.8)
        return drawn
