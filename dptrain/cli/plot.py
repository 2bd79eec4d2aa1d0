"""`dptrain plot`: learning curves of runs, and of the seeds' histories, in one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dptrain.api.curves import draw
from dptrain.cli.picture import checked, save
from dptrain.errors import UsageError


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
