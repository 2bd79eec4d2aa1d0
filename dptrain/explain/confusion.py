"""What is taken for what: the confusion matrix, its picture, and a table of the classes."""

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
    """Of one class."""

    name: str
    samples: int  #: that belong to it
    hits: int  #: of these, taken for it
    taken: int  #: samples of any class that were taken for it
    confused: str  #: the class its samples are most often taken for instead; "" for none
    confused_count: int

    @property
    def recall(self) -> float:
        """Accuracy on its own samples; 0 where there is none."""
        return self.hits / self.samples if self.samples else 0.0

    @property
    def precision(self) -> float:
        """Part of what is taken for it that belongs to it; 0 where nothing is."""
        return self.hits / self.taken if self.taken else 0.0


def confusion_matrix(labels: I64, guesses: I64, classes: int) -> I64:
    """(classes, classes) of counts: a row a true class, a column a guess."""
    return np.bincount(labels * classes + guesses, minlength=classes * classes).reshape(classes, classes)


def class_rows(matrix: I64, names: Sequence[str]) -> list[ClassRow]:
    """A row a class, in order."""
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
    """For text, markdown or CSV."""
    rows = [
        (r.name, str(r.samples), str(r.hits), f"{r.recall:.4f}", f"{r.precision:.4f}", _mistake(r))
        for r in class_rows(matrix, names)
    ]
    return Table(("class", "samples", "hits", "recall", "precision", "most often taken for"), rows)


def _mistake(row: ClassRow) -> str:
    return f"{row.confused} ({row.confused_count})" if row.confused else ""


def draw_confusion(matrix: I64, names: Sequence[str], title: str) -> Figure:
    """Counts, shaded by the part of the true class; figures in the cells while they can be read (up to 20 classes)."""
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
