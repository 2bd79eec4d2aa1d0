"""metrics.jsonl and hashes.jsonl (one JSON record per line), and summary.csv, the table of epochs made from them.

A full disk does not stop a training: what cannot be written waits in memory.
"""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from dptrain.atomic import write_atomically
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
MOST = 64 * 1024 * 1024  #: bytes that may wait in memory: metrics of a quarter of a million steps


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


class JsonLines:
    """Appends records to a file. Records after `step` in an existing file are removed: those steps are repeated."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._cut(step)
        self._file = PatientFile(path)

    def _cut(self, step: int) -> None:
        there = self._path.exists()
        records = read(self._path) if there else []
        behind = (at for at, record in enumerate(records) if record["step"] > step)
        self.kept = records[: next(behind, len(records))]
        #: Records that are there already are not written twice (after a stop, the test split is scored again).
        self._kept_keys = set(map(_key, self.kept))
        if there:
            write_atomically(self._path, b"".join(map(_line, self.kept)))

    @property
    def fault(self) -> str:
        """Why records wait in memory; "" if none do."""
        return self._file.fault

    def write(self, record: Record) -> None:
        """Writes to the file (no fsync); on a full disk the record waits in memory."""
        if _key(record) not in self._kept_keys:
            self._file.write(_line(record))

    def back_to(self, step: int) -> None:
        """Removes the records after `step` while the file is in use. Raises OSError; then all of them stay."""
        self._file.sync()
        self._cut(step)
        self._file.close()
        self._file = PatientFile(self._path)

    def sync(self) -> None:
        """Makes the records durable: a checkpoint must not be ahead of the metrics. Raises OSError."""
        self._file.sync()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


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


class PatientFile:
    """A file that is only appended to. `write` never raises, `sync` does. Two threads may use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault = ""  #: why bytes wait in memory; "" if none do
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray()
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Writes to the file; what cannot be written waits. Beyond MOST waiting bytes, `data` is lost."""
        with self._lock:
            if len(self._waiting) + len(data) <= MOST:
                self._waiting += data
            self._drain()

    def sync(self) -> None:
        """Makes everything durable. Raises OSError if that fails."""
        with self._lock:
            error = self._drain()
            if error is not None:
                raise error
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Tries to write once more, then closes. May be called twice."""
        with self._lock:
            if not self._file.closed:
                self._drain()
                self._file.close()

    def _drain(self) -> OSError | None:
        """Writes what waits. A write may take only a part; the rest follows later."""
        try:
            while self._waiting:
                done = self._file.write(self._waiting)
                del self._waiting[: done or 0]
        except OSError as error:
            self.fault = error.strerror or str(error)
            return error
        self.fault = ""
        return None


def _line(record: Record) -> bytes:
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def _key(record: Record) -> tuple[str, ...]:
    """What identifies a record: kind, step and split."""
    return (record["kind"], str(record["step"]), *(k for k in record if k.endswith("/loss")))
