"""`dptrain status`, `dptrain verify` and `dptrain history`: what a run directory says, without its data or network."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dptrain.api.compare import compare
from dptrain.cli.flags import takes_settings, texts
from dptrain.errors import ExitCode, RunDirectoryError
from dptrain.interop.histories import HEADS, from_records, write_histories
from dptrain.recipefile import resolve
from dptrain.runs.condition import Condition, condition
from dptrain.runs.directory import LATEST, stored_config
from dptrain.runs.metrics import Record, read
from dptrain.runs.texts import duration, resuming

_QUIET = 30.0  #: seconds without a step after which `status` reports them


@takes_settings("runs")
def status(
    run: Annotated[Path | None, Parameter(help="run directory; default RUNS/latest")] = None,
    /,
    **flags: str | bool,
) -> int:
    """Show the state of a run: running or not, step, loss, throughput, checkpoints, last lines of the log."""
    runs = Path(resolve(environ=os.environ, flags=texts(flags)).deployment.runs).expanduser()
    path = run or runs / LATEST
    if run is None and not path.exists():
        raise RunDirectoryError(f"{path} does not exist: give a run directory, dptrain status runs/NAME")
    print("\n".join(_lines(condition(path))))
    return 0


def _lines(now: Condition) -> list[str]:
    name = now.path.resolve().name
    start = now.start
    return [
        f"run         {name}  identity {now.identity[:12]}  term {start.get('term')}  since {start.get('time')}",
        f"state       {_state(now)}",
        f"step        {_step(now)}",
        *([f"{'evaluation':<12}{_evaluation(now.evaluation)}"] if now.evaluation else []),
        *(f"{'checkpoint':<12}{name}  {size / 1e6:.1f} MB, {duration(age)} old" for name, size, age in now.checkpoints),
        *(f"{'log':<12}{line}" for line in now.log),
    ]


def _state(now: Condition) -> str:
    if not now.running:
        if now.evaluation is not None and "test/acc" in now.evaluation:
            return "finished"
        if now.diverged:
            return "diverged, not running; the same bits would diverge again: start a new run with a lower --lr"
        return f"not running; continue with: {resuming(str(now.path), stored_config(now.path).deployment)}"
    if now.quiet < _QUIET:
        return f"running, {now.owner}"
    return f"running, {now.owner}; no step for {duration(now.quiet)}: are there workers? See the log below"


def _step(now: Condition) -> str:
    record = now.step
    if record is None:
        return f"none of {now.total_steps or '?'} yet"
    total = f" of {now.total_steps:,}" if now.total_steps else ""
    loss = "not finite" if record["train/loss"] is None else f"{record['train/loss']:.4f}"
    pace = f"  {now.throughput:,.0f} images/s" if now.throughput else ""
    return f"{record['step']:,}{total}  epoch {record['epoch'] + 1}  loss {loss}  acc {record['train/acc']:.3f}{pace}"


def _evaluation(record: Record) -> str:
    shown = [f"{key} {value:.4f}" for key, value in record.items() if "/" in key and value is not None]
    return f"step {record['step']:,}  {'  '.join(shown)}"


def verify(
    run_a: Annotated[Path, Parameter(help="run directory")],
    run_b: Annotated[Path, Parameter(help="run directory")],
    /,
) -> int:
    """Compare the state hashes of two runs, step by step. Exit code 0: equal, 1: different, 2: nothing to compare.

    Train both with --hash-every 1.
    """
    found = compare(run_a, run_b)
    common = found.common
    if found.why_not:
        sys.stderr.write(f"dptrain: error: {found.why_not}\n")
        return ExitCode.NOTHING_TO_COMPARE
    if found.different is None:
        print(f"identical over {len(common)} common step{'s' if len(common) > 1 else ''} ({common[0]} to {common[-1]})")
        return ExitCode.DONE
    at = common.index(found.different)
    before = f"step {common[at - 1]} was still equal" if at else "it is the first common step"
    print(f"different from step {found.different} on: {found.tensor}; {before}")
    if found.settings:
        print(f"the configurations differ: {', '.join(found.settings)}")
    return ExitCode.FAULT_FOUND


def history(
    run: Annotated[Path, Parameter(help="run directory")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="folder for the three tables [RUN/histories]")] = None,
) -> int:
    """Export loss per step and accuracy per epoch as loss_history.csv, train_acc_history.csv and val_acc_history.csv,
    each also as .npy: the files and columns of PyFunt.
    """
    config = stored_config(run)
    histories = from_records(read(run / "metrics.jsonl"), config.training.batch_size)
    counts = (len(histories.loss), len(histories.train), len(histories.validation))
    paths = write_histories(histories, out or run / "histories")
    for path, count in zip(paths, counts, strict=True):
        sys.stdout.write(f"{path}: {count:,} rows of {', '.join(HEADS[path.name])}\n")
    return 0
