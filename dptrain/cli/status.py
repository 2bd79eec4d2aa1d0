"""`dptrain status`: how a run is doing, from its directory; on the coordinator's host, while it runs or afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.flags import takes_settings, texts
from dptrain.errors import RunDirectoryError
from dptrain.recipefile import resolve
from dptrain.runs.condition import Condition, condition
from dptrain.runs.directory import LATEST, stored_config
from dptrain.runs.metrics import Record
from dptrain.runs.texts import duration, resuming

_QUIET = 30.0  #: seconds without a step after which it is said


@takes_settings("runs")
def status(
    run: Annotated[Path | None, Parameter(help="run directory; default RUNS/latest")] = None, **flags: str | bool
) -> int:
    """Tell how a run is doing: running or not, step, loss, pace, checkpoints, the coordinator's last words."""
    runs = Path(resolve(environ=os.environ, flags=texts(flags)).deployment.runs).expanduser()
    path = run or runs / LATEST
    if run is None and not path.exists():
        raise RunDirectoryError(f"{path} does not exist: give a run directory, dptrain status runs/NAME")
    print("\n".join(lines(condition(path))))
    return 0


def lines(now: Condition) -> list[str]:
    """For people."""
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
