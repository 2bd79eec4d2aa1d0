"""The seeds' histories: loss_history.csv, train_acc_history.csv, val_acc_history.csv; read, and written from a run.

Beside each lies the same table as .npy, float64, not rounded.

Columns and numbers are PyFunt's: "# iteration, n_images, loss", from 1; "# epoch, train_acc" and "# epoch, val_acc".
Epoch 0 is the accuracy before training (`eval_first`); an epoch without a figure has no line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dptrain.atomic import write_atomically
from dptrain.errors import DataError
from dptrain.types import F64

LOSS = "loss_history.csv"
TRAIN = "train_acc_history.csv"
VALIDATION = "val_acc_history.csv"

#: Columns of each file, as in its first line.
HEADS = {LOSS: ("iteration", "n_images", "loss"), TRAIN: ("epoch", "train_acc"), VALIDATION: ("epoch", "val_acc")}


@dataclass(frozen=True, slots=True)
class Histories:
    """Figures of one training; a list may be empty."""

    loss: list[tuple[int, int, float]]  #: (iteration, images seen so far, loss of that batch)
    train: list[tuple[int, float]]  #: (epoch, accuracy)
    validation: list[tuple[int, float]]


def from_records(records: Iterable[dict[str, Any]], batch_size: int) -> Histories:
    """Of a run's metrics.jsonl. Steps whose loss was not finite are left out. No validation split: the test's."""
    found = Histories([], [], [])
    tested = []
    for record in records:
        if record["kind"] == "step" and record["train/loss"] is not None:
            found.loss.append((record["step"], record["step"] * batch_size, record["train/loss"]))
        elif record["kind"] == "epoch":
            found.train.append((record["epoch"], record["train/acc"]))
        elif "val/acc" in record:
            found.validation.append((record["epoch"], record["val/acc"]))
        elif "test/acc" in record:
            tested.append((record["epoch"], record["test/acc"]))
    found.validation.extend(() if found.validation else tested)
    return found


def is_folder_of_histories(path: Path) -> bool:
    """Has `path` any of the three files?"""
    return any((path / name).is_file() for name in HEADS)


def read_histories(folder: Path) -> Histories:
    """What PyFunt's `export_histories`, or `write_histories`, left in `folder`. Raises DataError: file and line."""
    if not is_folder_of_histories(folder):
        raise DataError(f"{folder} has none of {', '.join(HEADS)}")
    loss = [(int(i), int(n), value) for i, n, value in _rows(folder / LOSS)]
    train = [(int(epoch), value) for epoch, value in _rows(folder / TRAIN)]
    validation = [(int(epoch), value) for epoch, value in _rows(folder / VALIDATION)]
    return Histories(loss, train, validation)


def write_histories(histories: Histories, folder: Path) -> list[Path]:
    """The three files and a .npy of each, whole or not at all. Returns the three paths. Raises DataError."""
    rows: dict[str, list[tuple[float, ...]]] = {
        LOSS: [*histories.loss],
        TRAIN: [*histories.train],
        VALIDATION: [*histories.validation],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, head in HEADS.items():
            lines = [f"# {', '.join(head)}", *(",".join(map(_number, row)) for row in rows[name])]
            write_atomically(folder / name, ("\n".join(lines) + "\n").encode())
            table = np.array(rows[name], np.float64).reshape(-1, len(head))
            write_atomically((folder / name).with_suffix(".npy"), _npy(table))
    except OSError as error:
        raise DataError(f"the histories cannot be written to {folder}: {error.strerror}") from error
    return [folder / name for name in HEADS]


def _npy(table: F64) -> bytes:
    file = io.BytesIO()
    np.save(file, table, allow_pickle=False)
    return file.getvalue()


def _rows(path: Path) -> list[list[float]]:
    if not path.is_file():
        return []
    columns, rows = len(HEADS[path.name]), []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        if not row or row[0].startswith("#"):
            continue
        try:
            values = [float(cell) for cell in row]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if len(values) != columns:
            raise DataError(f"{path}, line {number}: {len(values)} columns; it needs {', '.join(HEADS[path.name])}")
        rows.append(values)
    return rows


def _number(value: float) -> str:
    """As the seeds wrote them: whole numbers, and six decimals."""
    return str(value) if isinstance(value, int) else f"{value:f}"
