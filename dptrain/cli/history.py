"""`dptrain history`: the histories of a run in the files and columns of PyFunt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dptrain.run.directory import stored_config
from dptrain.run.histories import HEADS, from_records, write_histories
from dptrain.run.metrics import read


def history(
    run: Annotated[Path, Parameter(help="run directory")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="folder for the three tables [RUN/histories]")] = None,
) -> int:
    """Export loss per step and accuracy per epoch as loss_history.csv, train_acc_history.csv, val_acc_history.csv, and
    each as .npy.
    """
    config = stored_config(run)
    histories = from_records(read(run / "metrics.jsonl"), config.training.batch_size)
    counts = (len(histories.loss), len(histories.train), len(histories.validation))
    paths = write_histories(histories, out or run / "histories")
    for path, count in zip(paths, counts, strict=True):
        sys.stdout.write(f"{path}: {count:,} rows of {', '.join(HEADS[path.name])}\n")
    return 0
