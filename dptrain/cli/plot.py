"""`dptrain plot`: learning curves of runs, and of the seeds' histories, in one figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dptrain.cli.picture import checked, save
from dptrain.errors import UsageError
from dptrain.run.directory import stored_config
from dptrain.run.histories import Histories, from_records, is_folder_of_histories, read_histories
from dptrain.run.metrics import read

if TYPE_CHECKING:
    from dptrain.analysis.curves import Curve

SMOOTH = 100  #: iterations a loss is averaged over, as in the seeds' figures


def plot(
    *runs: Annotated[Path, Parameter(help="run directories, or folders with the seeds' CSV histories")],
    out: Annotated[Path, Parameter(["--out", "-o"], help="file, .png or .svg")] = Path("curves.png"),
    smooth: Annotated[int, Parameter(help="iterations the loss is averaged over")] = SMOOTH,
) -> int:
    """Draw loss by iteration and error by epoch, several runs over each other."""
    if not runs:
        raise UsageError("plot needs at least one run directory")
    if smooth < 1:
        raise UsageError(f"smooth = {smooth}: must be 1 or more")
    out = checked(out)
    from dptrain.analysis.curves import draw_curves

    names = [run.resolve().name for run in runs]
    unique = names if len(set(names)) == len(names) else [str(run) for run in runs]
    save(draw_curves([curve(run, name) for run, name in zip(runs, unique, strict=True)], smooth), out)
    return 0


def curve(run: Path, name: str) -> Curve:
    """What is drawn of one run. Raises RunDirectoryError, DataError."""
    from dptrain.analysis.curves import Curve

    found = histories(run)
    return Curve(name, [(i, loss) for i, _, loss in found.loss], found.train, found.validation)


def histories(run: Path) -> Histories:
    """Of a run directory, or of a folder with the seeds' CSV files. Raises RunDirectoryError, DataError."""
    if is_folder_of_histories(run) and not (run / "config.toml").exists():
        return read_histories(run)
    config = stored_config(run)
    return from_records(read(run / "metrics.jsonl"), config.training.batch_size)
