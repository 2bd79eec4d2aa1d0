"""`dptrain experiment`: the seeds' experiments, several seeds each, as a table and a figure; a finished run stays."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter

from dptrain.api.plan import Plan, planned
from dptrain.cli.flags import Recipe, takes_settings, texts
from dptrain.cli.picture import checked, save, write
from dptrain.errors import DivergedError, UsageError
from dptrain.recipefile import Given, gather
from dptrain.rules import Value
from dptrain.runs.condition import diverged
from dptrain.runs.directory import stored_config
from dptrain.runs.metrics import Record, read
from dptrain.settings import SETTINGS, Config, identity_differences
from dptrain.settings import values as settings_of

if TYPE_CHECKING:
    from dptrain.explain.experiments import Outcome, Result, Variant

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


class _Run(NamedTuple):
    """One training of an experiment."""

    variant: Variant
    plan: Plan
    path: Path


@takes_settings(*(name for name in SETTINGS if name not in _OWN))
def experiment(
    name: Annotated[Name, Parameter(help="what is varied")],
    /,
    *,
    seeds: Annotated[int, Parameter(help="runs of each variant, from --seed on")] = 3,
    values: Annotated[str, Parameter(help="what to vary over, with commas, e.g. 1,3,9 for depth (n)")] = "",
    table: Annotated[Literal["text", "markdown", "csv"], Parameter(help="form of the printed table")] = "text",
    recipe: Recipe = "",
    **flags: str | bool,
) -> int:
    """Train every variant with several seeds; leave runs, table and figure in RUNS/experiment-NAME.

    Started again, it goes on where it was stopped: runs that are finished, or have diverged, are not run again.
    """
    if not 1 <= seeds <= 1000:
        raise UsageError(f"seeds = {seeds}: must be 1 to 1000")
    asked = texts(flags)
    given = gather(recipe, os.environ, asked)
    base = planned(given, {}).config
    folder = Path(base.deployment.runs).expanduser() / f"experiment-{name}"
    os.environ["DPTRAIN_ISA"] = base.deployment.isa
    from dptrain.explain.drawing import looks
    from dptrain.explain.experiments import draw_outcome, outcome_table, variants

    with looks():  # without matplotlib: say so now, not after hours
        figure = checked(folder / "figure.png")
    wanted = [value.strip() for value in values.split(",") if value.strip()]
    rows = variants(name, base, wanted)
    for setting in asked:
        value = settings_of(base).get(setting)
        if all(row.changes.get(setting, value) != value for row in rows):
            others = gather(recipe, os.environ, {other: text for other, text in asked.items() if other != setting})
            if rows == variants(name, planned(others, {}).config, wanted):
                never = f"sets {setting} itself, and never to {asked[setting]}"
                raise UsageError(f"experiment {name} {never}: leave it out")
    firsts = range(base.training.seed, base.training.seed + seeds)
    runs = [_prepared(row, seed, given, folder) for seed in firsts for row in rows]
    _refuse_impossible({run.variant.slug: run for run in runs if not finished(run.path)}.values())
    failed, code = _train(runs)
    if code:
        return code
    outcomes = [_outcome(row, [run for run in runs if run.variant is row], failed) for row in rows]
    result = outcome_table(outcomes)
    length = f"{base.training.epochs} epoch{'s' if base.training.epochs > 1 else ''}"
    shown = base.data.dataset.replace("$", r"\$")  # a pair of them would be a formula to matplotlib
    title = f"{name}: {shown}, {length}, {seeds} seed{'s' if seeds > 1 else ''}"
    for form, file in (("markdown", "table.md"), ("csv", "table.csv")):
        write(folder / file, result.write(form).encode())
    with redirect_stdout(sys.stderr):
        what = "training" if base.data.validation == 0 else "validation"
        save(draw_outcome(outcomes, title, what), figure)
    sys.stdout.write(result.write(table))
    return 0


def _prepared(variant: Variant, seed: int, given: Given, folder: Path) -> _Run:
    """Every configuration is checked before the first run begins. Raises UsageError."""
    path = folder / f"{variant.slug}-seed{seed}"
    forced: dict[str, Value] = {**variant.changes, "seed": seed, "runs": str(folder), "name": path.name}
    wanted = planned(given, forced)
    if not (path / "config.toml").is_file():
        return _Run(variant, wanted, path)
    if differences := identity_differences(stored_config(path), wanted.config):
        raise UsageError(
            f"{path} is of another experiment ({'; '.join(differences)}): choose another --runs, or remove {folder}"
        )
    return _Run(variant, wanted._replace(resumed=path), path)


def _refuse_impossible(runs: Iterable[_Run]) -> None:
    """Builds each network, without data and weights: milliseconds, where its training may begin hours later.

    Raises UsageError naming the variant, and DataError where a folder of pictures is not there.
    """
    from dptrain.api.inputs import form_of
    from dptrain.engine import build

    for run in runs:
        config = run.plan.config
        try:
            *image, classes = form_of(config.data, config.deployment.data_dir)
            flat = [1.0] * image[2]
            build(config.model, (image[0], image[1], image[2]), classes, flat, flat, files=config.deployment.networks)
        except UsageError as error:
            raise UsageError(f"{run.variant.label}: {error}") from error


def _train(runs: list[_Run]) -> tuple[set[Path], int]:
    """Trains what is not finished: directories of runs that diverged, and the exit code of a stop or failure, or 0."""
    from dptrain.cli.training import run as train

    failed: set[Path] = set()
    for number, run in enumerate(runs, 1):
        done = "finished" if finished(run.path) else "diverged" if diverged(run.path) else ""
        sys.stderr.write(f"run {number} of {len(runs)}: {run.path.name}{done and f', {done} before'}\n")
        if done:
            failed |= {run.path} if done == "diverged" else set()
            continue
        with redirect_stdout(sys.stderr):  # stdout is for the table
            code = train(run.plan, launch=True)
        if code == DivergedError.exit_code and diverged(run.path):
            failed.add(run.path)
        elif code:
            if code != DivergedError.exit_code:  # of a bug, which would come again
                sys.stderr.write("the same command goes on from here\n")
            return failed, code
    return failed, 0


def finished(path: Path) -> bool:
    """Has the run of this directory been tested, which is the last that happens?"""
    metrics = path / "metrics.jsonl"
    return metrics.is_file() and any("test/acc" in record for record in read(metrics))


def _outcome(variant: Variant, runs: list[_Run], failed: set[Path]) -> Outcome:
    from dptrain.explain.experiments import Outcome, published

    good = [run for run in runs if run.path not in failed]
    config = runs[0].plan.config
    return Outcome(
        variant.label,
        parameters(good[0].path) if good else 0,
        [result(read(run.path / "metrics.jsonl"), run.plan.config) for run in good],
        [run.plan.config.training.seed for run in runs if run.path in failed],
        published(config),
    )


def parameters(path: Path) -> int:
    """Learnable figures of a run's network."""
    from dptrain.runs.checkpoint import load
    from dptrain.runs.shelf import find

    tensors = load(find(path)).tensors
    buffers = (".running_mean", ".running_var")
    return sum(a.size for name, a in tensors.items() if name.startswith("model.") and not name.endswith(buffers))


def result(records: Iterable[Record], config: Config) -> Result:
    """What an experiment wants to know of one finished run."""
    from dptrain.explain.experiments import Result

    by_kind: dict[str, list[Record]] = {"epoch": [], "val": [], "test": []}
    for record in records:
        kind = "val" if "val/acc" in record else "test" if "test/acc" in record else record["kind"]
        by_kind.setdefault(kind, []).append(record)
    epochs = by_kind["epoch"]
    curve = [(r["epoch"], 1 - r["val/acc"]) for r in by_kind["val"]] or [
        (r["epoch"], 1 - r["train/acc"]) for r in epochs
    ]
    seconds = sorted(r["time/epoch_s"] for r in epochs)
    return Result(
        seed=config.training.seed,
        test=1 - by_kind["test"][-1]["test/acc"],
        train=1 - epochs[-1]["train/acc"],
        curve=curve,
        seconds=seconds[len(seconds) // 2],
    )
