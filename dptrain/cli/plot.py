"""`dptrain history`: the histories of a run in the files and columns of PyFunt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dptrain.api.curves import draw
from dptrain.cli.picture import checked, save
from dptrain.errors import UsageError
from dptrain.interop.histories import HEADS, from_records, write_histories
from dptrain.runs.directory import stored_config
from dptrain.runs.metrics import read


def plot(
    *runs: Annotated[Path, Parameter(help="run directories, or folders with the seeds' CSV histories", required=True)],
    out: Annotated[Path, Parameter(["--out", "-o"], help="file, .png or .svg")] = Path("curves.png"),
    smooth: Annotated[
        int | None, Parameter(help="steps the loss is averaged over [a fiftieth of them, at least 10]")
    ] = None,
) -> int:
    """Draw loss by step and error by epoch, several runs over each other."""
    if smooth is not None and smooth < 1:
        raise UsageError(f"smooth = {smooth}: must be 1 or more")
    out = checked(out)
    save(draw(runs, smooth), out)
    return 0


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
