"""The history of a training, from a run directory or the predecessors' CSV files, and the curves drawn of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dptrain.interop.histories import Histories, from_records, is_folder_of_histories, read_histories
from dptrain.runs.directory import stored_config
from dptrain.runs.metrics import read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dptrain.explain.curves import Curve


def histories(run: Path) -> Histories:
    """The histories of a run directory, or of a folder with the predecessors' CSV files.

    Raises RunDirectoryError and DataError.
    """
    if is_folder_of_histories(run) and not (run / "config.toml").exists():
        return read_histories(run)
    config = stored_config(run)
    return from_records(read(run / "metrics.jsonl"), config.training.batch_size)


def curve(run: Path, name: str) -> Curve:
    """The curve of one run. Raises RunDirectoryError and DataError."""
    from dptrain.explain.curves import Curve

    found = histories(run)
    return Curve(name, [(i, loss) for i, _, loss in found.loss], found.train, found.validation)


def draw(runs: Sequence[Path], smooth: int | None = None) -> Figure:
    """A figure of loss by step and error by epoch, of several runs.

    `smooth`: steps over which the loss is averaged; None: chosen by the length of the training.
    """
    from dptrain.explain.curves import draw_curves, usual_window

    names = [run.resolve().name for run in runs]
    unique = names if len(set(names)) == len(names) else [str(run) for run in runs]
    curves = [curve(run, name) for run, name in zip(runs, unique, strict=True)]
    return draw_curves(curves, smooth or usual_window(curves))
