"""An experiment: the variants of a configuration, each trained with several seeds. Finished runs are not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dptrain.api.inputs import form_of
from dptrain.api.plan import Plan, planned
from dptrain.engine import build as build_model
from dptrain.errors import UsageError
from dptrain.explain.experiments import Outcome, Result, Variant, published, variants
from dptrain.identity import identity_differences
from dptrain.recipefile import OTHER_NAMES, Given
from dptrain.rules import Value
from dptrain.runs.checkpoint import load
from dptrain.runs.directory import stored_config
from dptrain.runs.metrics import Record, read
from dptrain.runs.shelf import find
from dptrain.settings import Config
from dptrain.settings import values as settings_of


class Trial(NamedTuple):
    """One training of an experiment."""

    variant: Variant
    plan: Plan
    path: Path  #: run directory

    def finished(self) -> bool:
        """Has the run been tested? That is the last thing a run does."""
        return finished(self.path)


def trials(rows: Sequence[Variant], seeds: Iterable[int], given: Given, folder: Path) -> list[Trial]:
    """All trainings, seed by seed, each in a run directory in `folder`.

    Checks every configuration and builds every network, without data and weights, before the first training begins.
    Raises UsageError naming the variant, and DataError where a folder of images does not exist.
    """
    found = [_trial(row, seed, given, folder) for seed in seeds for row in rows]
    for trial in {trial.variant.slug: trial for trial in found if not trial.finished()}.values():
        config = trial.plan.config
        try:
            *image, classes = form_of(config.data, config.deployment.data_dir)
            flat = [1.0] * image[2]
            files = config.deployment.networks
            build_model(config.model, (image[0], image[1], image[2]), classes, flat, flat, files=files)
        except UsageError as error:
            raise UsageError(f"{trial.variant.label}: {error}") from error
    return found


def _trial(variant: Variant, seed: int, given: Given, folder: Path) -> Trial:
    path = folder / f"{variant.slug}-seed{seed}"
    forced: dict[str, Value] = {**variant.changes, "seed": seed, "runs": str(folder), "name": path.name}
    wanted = planned(given, forced)
    if not (path / "config.toml").is_file():
        return Trial(variant, wanted, path)
    if differences := identity_differences(stored_config(path), wanted.config):
        raise UsageError(
            f"{path} is of another experiment ({'; '.join(differences)}): choose another --runs, or remove {folder}"
        )
    return Trial(variant, wanted._replace(resumed=path), path)


def refuse_overridden(
    name: str, wanted: Sequence[str], base: Config, flags: Mapping[str, str], without: Callable[[str], Config]
) -> None:
    """Refuses a flag whose value no variant has, because the experiment sets that setting itself.

    `without`: the configuration without one of the flags. A flag on which the variants are built may stay.
    """
    rows = variants(name, base, wanted)
    for flag, text in flags.items():
        setting = OTHER_NAMES.get(flag, flag)
        asked = settings_of(base)[setting]
        overridden = all(row.changes.get(setting, asked) != asked for row in rows)
        if overridden and rows == variants(name, without(flag), wanted):
            raise UsageError(f"experiment {name} sets {setting} itself, and never to {text}: leave it out")


def finished(path: Path) -> bool:
    """Has the run of this directory been tested? That is the last thing a run does."""
    metrics = path / "metrics.jsonl"
    return metrics.is_file() and any("test/acc" in record for record in read(metrics))


def outcomes(rows: Sequence[Variant], done: Sequence[Trial], failed: set[Path]) -> list[Outcome]:
    """One per variant; `failed`: run directories of trainings that diverged."""
    return [_outcome(row, [trial for trial in done if trial.variant is row], failed) for row in rows]


def _outcome(variant: Variant, own: list[Trial], failed: set[Path]) -> Outcome:
    good = [trial for trial in own if trial.path not in failed]
    return Outcome(
        variant.label,
        _parameters(good[0].path) if good else 0,
        [_result(read(trial.path / "metrics.jsonl"), trial.plan.config) for trial in good],
        [trial.plan.config.training.seed for trial in own if trial.path in failed],
        published(own[0].plan.config),
    )


def _parameters(path: Path) -> int:
    """The number of learned parameters of a run's network."""
    tensors = load(find(path)).tensors
    buffers = (".running_mean", ".running_var")
    return sum(a.size for name, a in tensors.items() if name.startswith("model.") and not name.endswith(buffers))


def _result(records: Iterable[Record], config: Config) -> Result:
    """What an experiment needs to know of one finished run."""
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
