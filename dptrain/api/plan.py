"""The configuration of a run that is started or resumed. A resumed run keeps its identity."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from dptrain.errors import DptrainError, UsageError, nearest
from dptrain.identity import extends
from dptrain.interop.weights import read_weights
from dptrain.recipefile import COMMAND_LINE, ELSEWHERE, OTHER_NAMES, Given, gather
from dptrain.rules import Value
from dptrain.runs.directory import stored_config, to_resume
from dptrain.settings import SETTINGS, Config, DeploymentConfig, build, check, not_used, unused, values

Keyword: TypeAlias = Value | os.PathLike[str] | list[int] | list[float] | list[str] | dict[str, float]


def texts(keywords: Mapping[str, object]) -> dict[str, str]:
    """Keywords of Python as `dptrain.recipefile` takes them: text by name. Raises UsageError for an unknown name."""
    known = [*SETTINGS, *OTHER_NAMES]
    for name in keywords:
        if name not in known:
            meant = ELSEWHERE.get(f"--{name.replace('_', '-')}", "").removeprefix("--").replace("-", "_")
            raise UsageError(
                f"there is no setting {name!r}{f'; did you mean {meant}?' if meant else nearest(name, known)}"
            )
    return {name: _text(value) for name, value in keywords.items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{name}:{number}" for name, number in value.items())
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@contextmanager
def in_python() -> Iterator[None]:
    """Errors name keywords instead of flags: `--resume runs/a` becomes `resume="runs/a"`."""
    try:
        yield
    except DptrainError as error:
        error.args = (_keywords(str(error)),)
        raise


def _keywords(message: str) -> str:
    """Replaces flags that are settings, with their value where it is a path."""

    def keyword(flag: re.Match[str]) -> str:
        name, path = flag[1].replace("-", "_"), flag[2]
        if name not in SETTINGS:
            return flag[0]
        return f'{name}="{path}"' if path else name

    return re.sub(r"--([a-z][a-z0-9-]*)(?: ([^ ,;:]*/[^ ,;:]*))?", keyword, message)


#: Deployment that holds for one start only; --resume does not bring it back. `networks` is a permission to run code:
#: a run directory, which may come from someone else, must not grant it.
_ONCE = ("runs", "name", "resume", "max_steps", "networks")


class Plan(NamedTuple):
    """What is to be run."""

    config: Config
    resumed: Path | None  #: run directory to resume; None: a new one


def plan(recipe: str, environ: Mapping[str, str], flags: Mapping[str, str], *, caller: str = COMMAND_LINE) -> Plan:
    """The configuration of all sources. Raises UsageError."""
    return planned(gather(recipe, environ, flags, caller=caller), {})


def planned(given: Given, forced: Mapping[str, Value]) -> Plan:
    """The configuration; with `resume`, above the stored one. `forced` wins over everything.

    Raises UsageError where a source asks for another identity than the run that is to be resumed has.
    """
    asked = build(given.values).deployment
    resumed = to_resume(Path(asked.runs).expanduser(), asked.name, asked.resume)
    base = None
    if not resumed or asked.start != stored_config(resumed).deployment.start:
        given = _with_start(given)
    if resumed:
        stored = stored_config(resumed)
        _refuse_other_identity(given, stored, resumed)
        defaults = DeploymentConfig()
        base = build({name: getattr(defaults, name) for name in _ONCE}, stored)
        base = _without_unused(given, base, resumed)
    config = build({**given.values, **forced}, base)
    check(config)
    if config.training.anew and not config.deployment.start:  # a worker, which knows no start, must accept it
        raise UsageError(not_used("anew", values(config)))
    return Plan(config, resumed)


def _with_start(given: Given) -> Given:
    """With the digest of the weights to start from, and with their normalisation unless another one is given.

    Raises UsageError, DataError and CheckpointError if they cannot be read, or are not those of a given digest.
    """
    start = str(given.values.get("start", ""))
    if not start:
        return given
    asked, there = str(given.values.get("start_sha256", "")), read_weights(start)
    weights = there.pinned(asked)
    if weights is None:
        raise UsageError(f"start_sha256 = {asked!r}, but {start} has {there.sha256()}")
    found: dict[str, Value] = {"start_sha256": weights.sha256()}
    if weights.normalisation and not {"mean", "std", "normalise"} & given.values.keys():
        for name, units in weights.normalisation._asdict().items():
            found[name] = SETTINGS[name].convert([value / 255 for value in units])
    return Given(given.values | found, given.origin | dict.fromkeys(found, f"start {start}"))


def _without_unused(given: Given, stored: Config, resumed: Path) -> Config:
    """Drops stored deployment that the given settings make meaningless, and logs a warning."""
    dropped: dict[str, Value] = {}
    for name, use in unused(build(given.values, stored)):
        if not SETTINGS[name].identity and name not in given.values:
            now = f"{use.other} = {given.values[use.other]}"
            logging.getLogger("dptrain").warning("%s of %s is dropped: not used with %s", name, resumed, now)
            dropped[name] = SETTINGS[name].default
    return build(dropped, stored)


def refuse_unused_address(chosen: Plan) -> None:
    """For a training that starts its own workers. Raises UsageError where no process would listen at the address."""
    deployment = chosen.config.deployment
    if deployment.workers == 0 and deployment.bind != "ipc":
        raise UsageError(
            f"workers = 0 trains inside this process, where bind = {deployment.bind!r} cannot be used: "
            "set --bind ipc or --workers, or wait for workers from elsewhere with `dptrain coordinator`"
        )


def _refuse_other_identity(given: Given, stored: Config, resumed: Path) -> None:
    has = values(stored)
    wanted = {name: value for name, value in given.values.items() if SETTINGS[name].identity and value != has[name]}
    asked = build(wanted, stored)
    if extends(asked, stored):
        return
    if wanted.keys() == {"epochs"} and asked.training.epochs > stored.training.epochs:
        raise UsageError(
            f"epochs = {asked.training.epochs} ({given.origin['epochs']}), but the run {resumed} was planned for "
            f"{stored.training.epochs}, and with schedule {stored.training.schedule} every learning rate depends on "
            f"that: train on from its weights in a new run, --start {resumed}"
        )
    for name, value in wanted.items():
        raise UsageError(
            f"{name} = {value!r} ({given.origin[name]}), but the run {resumed} has {name} = {has[name]!r}: "
            "leave it out to resume, or start a new run"
        )
