"""The histories of the predecessors, loss_history.csv, train_acc_history.csv and val_acc_history.csv: read, and written
from a run. Beside each CSV file is the same table as .npy, in float64 and not rounded.

Columns and numbers are those of PyFunt: "# iteration, n_images, loss", from 1; "# epoch, train_acc" and
"# epoch, val_acc". Epoch 0 is the accuracy before training (`eval_first`); an epoch without a figure has no line.
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
    """The histories of one training; a list may be empty."""

    loss: list[tuple[int, int, float]]  #: (iteration, images seen so far, loss of that batch)
    train: list[tuple[int, float]]  #: (epoch, accuracy)
    validation: list[tuple[int, float]]


def from_records(records: Iterable[dict[str, Any]], batch_size: int) -> Histories:
    """From the records of metrics.jsonl, without steps whose loss was not finite. If there is no validation split, its
    accuracies are those of the test split.
    """
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
    """Whether `path` has one of the three files."""
    return any((path / name).is_file() for name in HEADS)


def read_histories(folder: Path) -> Histories:
    """Reads what PyFunt's `export_histories`, or `write_histories`, wrote. Raises DataError with file and line."""
    if not is_folder_of_histories(folder):
        raise DataError(f"{folder} has none of {', '.join(HEADS)}")
    loss = [(int(i), int(n), value) for i, n, value in _rows(folder / LOSS)]
    train = [(int(epoch), value) for epoch, value in _rows(folder / TRAIN)]
    validation = [(int(epoch), value) for epoch, value in _rows(folder / VALIDATION)]
    return Histories(loss, train, validation)


def write_histories(histories: Histories, folder: Path) -> list[Path]:
    """Writes the three files and a .npy of each, and returns the paths of the three. Raises DataError."""
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
    """As the predecessors wrote numbers: integers, or six decimals."""
    return str(value) if isinstance(value, int) else f"{value:f}"
