"""`dptrain experiment`: trains the variants of an experiment, and prints and draws how they compare."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from dptrain.api.plan import plan, planned
from dptrain.cli.flags import Recipe, takes_settings, texts
from dptrain.cli.output import checked, save, write
from dptrain.errors import DivergedError, UsageError
from dptrain.recipefile import gather
from dptrain.runs.condition import diverged
from dptrain.settings import SETTINGS

if TYPE_CHECKING:
    from dptrain.api.experiment import Trial

Name = Literal[
    "depth",
    "residual",
    "augmentation",
    "pad",
    "filters",
    "shards",
    "solver",
    "bn-momentum",
    "block",
    "shortcut",
]

#: Settings that an experiment chooses itself, run by run.
_OWN = ("name", "resume", "max_steps")


@takes_settings(*(name for name in SETTINGS if name not in _OWN))
def experiment(
    name: Annotated[Name, Parameter(help="what is varied")],
    /,
    *,
    seeds: Annotated[int, Parameter(help="runs per variant, with seeds from --seed on")] = 3,
    values: Annotated[str, Parameter(help="values to compare, separated by commas, such as 1,3,9 for depth (n)")] = "",
    table: Annotated[Literal["text", "markdown", "csv"], Parameter(help="format of the printed table")] = "text",
    recipe: Recipe = "",
    **flags: str | bool,
) -> int:
    """Train every variant with several seeds; leave runs, table and figure in RUNS/experiment-NAME.

    The same command continues an experiment that was stopped: runs that finished or diverged are not run again.
    """
    if not 1 <= seeds <= 1000:
        raise UsageError(f"seeds = {seeds}: must be 1 to 1000")
    asked = texts(flags)
    given = gather(recipe, os.environ, asked)
    base = planned(given, {}).config
    os.environ["DPTRAIN_ISA"] = base.deployment.isa
    from dptrain.api import experiment as api  # imports Numba: only now is the ISA known
    from dptrain.explain.drawing import looks
    from dptrain.explain.experiments import draw_outcome, outcome_table, variants

    folder = Path(base.deployment.runs).expanduser() / f"experiment-{name}"
    with looks():  # without matplotlib: an error now, not after hours
        figure = checked(folder / "figure.png")
    wanted = [value.strip() for value in values.split(",") if value.strip()]
    api.refuse_overridden(
        name, wanted, base, asked, lambda flag: plan(recipe, os.environ, _without(asked, flag)).config
    )
    rows = variants(name, base, wanted)
    firsts = range(base.training.seed, base.training.seed + seeds)
    trials = api.trials(rows, firsts, given, folder)
    failed, code = _train(trials)
    if code:
        return code
    outcomes = api.outcomes(rows, trials, failed)
    result = outcome_table(outcomes)
    length = f"{base.training.epochs} epoch{'s' if base.training.epochs > 1 else ''}"
    shown = base.data.dataset.replace("$", r"\$")  # matplotlib takes text between two $ for a formula
    title = f"{name}: {shown}, {length}, {seeds} seed{'s' if seeds > 1 else ''}"
    for form, file in (("markdown", "table.md"), ("csv", "table.csv")):
        write(folder / file, result.write(form).encode())
    with redirect_stdout(sys.stderr):
        what = "training" if base.data.validation == 0 else "validation"
        save(draw_outcome(outcomes, title, what), figure)
    sys.stdout.write(result.write(table))
    return 0


def _without(flags: dict[str, str], flag: str) -> dict[str, str]:
    return {name: text for name, text in flags.items() if name != flag}


def _train(trials: Sequence[Trial]) -> tuple[set[Path], int]:
    """Trains what is not finished: directories of runs that diverged, and the exit code of a stop or failure, or 0."""
    from dptrain.cli.train import run as train

    failed: set[Path] = set()
    for number, trial in enumerate(trials, 1):
        done = "finished" if trial.finished() else "diverged" if diverged(trial.path) else ""
        sys.stderr.write(f"run {number} of {len(trials)}: {trial.path.name}{done and f', {done} before'}\n")
        if done:
            failed |= {trial.path} if done == "diverged" else set()
            continue
        with redirect_stdout(sys.stderr):  # stdout is for the table
            code = train(trial.plan, launch=True)
        if code == DivergedError.exit_code and diverged(trial.path):
            failed.add(trial.path)
        elif code:
            if code != DivergedError.exit_code:  # that of a bug, which would come again
                sys.stderr.write("the same command continues from here\n")
            return failed, code
    return failed, 0
