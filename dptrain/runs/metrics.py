"""metrics.jsonl and hashes.jsonl (one JSON record per line), and summary.csv, the table of epochs made from them.

`recorder.py` writes them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from dptrain.cluster.events import EpochDone, Evaluated, StepDone
from dptrain.errors import RunDirectoryError

Record: TypeAlias = dict[str, Any]

_TRAFFIC = ("traffic/sent_bytes", "traffic/received_bytes")
PREFIX = {"validation": "val", "test": "test", "train": "train"}  #: of a split in metric names
COLUMNS = (
    "epoch",
    "step",
    "train/loss",
    "train/acc",
    "val/loss",
    "val/acc",
    "val/err",
    "val/top5",
    "test/loss",
    "test/acc",
    "test/err",
    "test/top5",
    "lr",
    "time/epoch_s",
)


def step_record(report: StepDone, seconds: float) -> Record:
    """One update. `loss` and `acc` are of the batch, with the weights before the update."""
    return {
        "kind": "step",
        "step": report.step,
        "epoch": report.epoch,
        "train/loss": _finite(report.loss),
        "train/acc": report.hits / report.samples,
        "lr": report.lr,
        "time/step_s": round(seconds, 6),
        "time/coordinator_s": round(report.coordinator_seconds, 6),
        "throughput/samples_per_s": round(report.samples / seconds, 2) if seconds > 0 else None,
        **dict(zip(_TRAFFIC, report.traffic, strict=True)),
    }


def epoch_record(report: EpochDone, seconds: float) -> Record:
    """One epoch: means over its images, while the weights were changing."""
    return {
        "kind": "epoch",
        "step": report.step,
        "epoch": report.epoch,
        "train/loss": _finite(report.loss),
        "train/acc": report.accuracy,
        "lr": report.lr,
        "time/epoch_s": round(seconds, 3),
    }


def evaluation_record(report: Evaluated) -> Record:
    """One evaluation of a split: val/loss, val/acc, val/top5, or test/..."""
    prefix = PREFIX[report.split]
    return {
        "kind": "eval",
        "step": report.step,
        "epoch": report.epoch,
        f"{prefix}/loss": _finite(report.loss),
        f"{prefix}/acc": report.accuracy,
        f"{prefix}/top5": report.accuracy5,
        "best": report.best,
    }


def hash_record(step: int, sha256: str, tensors: tuple[tuple[str, str], ...]) -> Record:
    """SHA-256 of the whole state after a step, and of each tensor (first 16 digits)."""
    return {"kind": "hash", "step": step, "sha256": sha256, "tensors": dict(tensors)}


def _finite(value: float) -> float | None:
    """None for NaN and infinity, which JSON does not have."""
    return value if isfinite(value) else None


def read(path: Path) -> list[Record]:
    """All complete records. A last line without its end is dropped; other damage raises RunDirectoryError."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror}") from error
    records = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline was cut off by a crash
        try:
            record = json.loads(line)
            record["step"] = int(record["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(f"{path}, line {number} is damaged: {error}") from error
        records.append(record)
    return records


def to_csv(records: Iterable[Record]) -> str:
    """summary.csv: one row per epoch. In the header, a slash becomes an underscore; errors are 1 - accuracy."""
    rows: dict[int, Record] = {}
    for record in records:
        if record["kind"] in ("epoch", "eval"):
            row = rows.setdefault(record["epoch"], {"epoch": record["epoch"]})
            row.update({k: v for k, v in record.items() if k in COLUMNS})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.replace("/", "_") for column in COLUMNS)
    for _, row in sorted(rows.items()):
        for split in ("val", "test"):
            if f"{split}/acc" in row:
                row[f"{split}/err"] = round(1.0 - row[f"{split}/acc"], 6)
        writer.writerow("" if row.get(column) is None else row[column] for column in COLUMNS)
    return out.getvalue()


def line(record: Record) -> bytes:
    """As it stands in the file."""
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def key(record: Record) -> tuple[str, ...]:
    """What identifies a record: kind, step and split."""
    return (record["kind"], str(record["step"]), *(k for k in record if k.endswith("/loss")))
