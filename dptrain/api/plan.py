"""The configuration of a run that is started or gone on with: the stored identity stands, deployment may change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from dptrain.config import IDENTITY_SECTIONS, SECTION_OF, Config, DeploymentConfig, build, values
from dptrain.configfile import Given, gather
from dptrain.configrules import Value, check, nearest, parse
from dptrain.errors import DptrainError, UsageError
from dptrain.runs.directory import stored_config, to_resume

Setting: TypeAlias = Value | Path | list[int] | list[float] | list[str]


def texts(settings: Mapping[str, Setting]) -> dict[str, str]:
    """By bare name, as `dptrain.configfile` takes them. Raises UsageError for a name or a value that cannot be."""
    for name in settings:
        if name not in SECTION_OF:
            raise UsageError(f"there is no setting {name!r}{nearest(name, SECTION_OF)}")
    found = {name: _text(value) for name, value in settings.items()}
    for name, text in found.items():
        parse(name, text)  # here, because later the error would name a flag
    return found


def _text(value: Setting) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@contextmanager
def in_python() -> Iterator[None]:
    """Errors name keywords where they would name flags: `--resume runs/a` becomes `resume="runs/a"`."""
    try:
        yield
    except DptrainError as error:
        error.args = (_keywords(str(error)),)
        raise


def _keywords(message: str) -> str:
    """Flags that are settings, with their value where it is a path."""

    def keyword(flag: re.Match[str]) -> str:
        name, path = flag[1].replace("-", "_"), flag[2]
        if name not in SECTION_OF:
            return flag[0]
        return f'{name}="{path}"' if path else name

    told = re.sub(r"--([a-z][a-z0-9-]*)(?: ([^ ,;:]*/[^ ,;:]*))?", keyword, message)
    return told.replace("(the command line)", "(this call)")


#: Deployment that is meant for one start only: it does not come back with --resume.
#: `networks` is a permission to run code: a run directory, which may be a stranger's, cannot give it.
_ONCE = ("runs", "name", "resume", "max_steps", "networks")


class Plan(NamedTuple):
    """What is to be run."""

    config: Config
    resumed: Path | None  #: run directory to go on with; None: a new one


def plan(recipe: str, environ: Mapping[str, str], flags: Mapping[str, str], forced: Mapping[str, Value]) -> Plan:
    """All layers together; under them, with --resume, the stored configuration. `forced` wins over everything.

    Raises UsageError where a layer asks for another identity than the run that is to be resumed has.
    """
    given = gather(recipe, environ, flags)
    asked = build(given.values).deployment
    resumed = to_resume(Path(asked.runs).expanduser(), asked.name, asked.resume)
    base = None
    if resumed:
        stored = stored_config(resumed)
        _refuse_other_identity(given, stored, resumed)
        defaults = DeploymentConfig()
        base = build({name: getattr(defaults, name) for name in _ONCE}, stored)
    config = build({**given.values, **forced}, base)
    check(config)
    return Plan(config, resumed)


def refuse_unused_address(chosen: Plan) -> None:
    """Of a training that is launched here. Raises UsageError where nobody would listen at the address that is given."""
    deployment = chosen.config.deployment
    if deployment.workers == 0 and deployment.bind != "ipc":
        raise UsageError(
            f"workers = 0 trains inside this process, where bind = {deployment.bind!r} cannot be used: "
            "set --bind ipc or --workers, or wait for workers from elsewhere with `dptrain coordinator`"
        )


def _refuse_other_identity(given: Given, stored: Config, resumed: Path) -> None:
    has = values(stored)
    for name, value in given.values.items():
        if SECTION_OF[name] in IDENTITY_SECTIONS and value != has[name]:
            raise UsageError(
                f"{name} = {value!r} ({given.origin[name]}), but the run {resumed} has {name} = {has[name]!r}: "
                "leave it out to resume, or start a new run"
            )
