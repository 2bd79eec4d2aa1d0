"""summary.csv: the epoch table, made anew from the epoch and evaluation records of metrics.jsonl."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from dptrain.run.metrics import Record

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


def to_csv(records: Iterable[Record]) -> str:
    """One row an epoch (the slash of a metric's name becomes an underscore in the head); errors are 1 - accuracy."""
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
