"""Gives verbs their flags for settings: spelling, help and type come from `dptrain.settings`. Values arrive as text."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter as Formal
from inspect import signature
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Group, Parameter, Token

from dptrain.errors import UsageError
from dptrain.recipefile import OTHER_NAMES, resolve
from dptrain.rules import Choice, Real, Switch, Whole
from dptrain.settings import SECTIONS, SETTINGS, DeploymentConfig

F = TypeVar("F", bound=Callable[..., int])

INSECURE = "allow connections beyond this host without keys: anyone there can read and change the run"
QUIET = "same as --log-format quiet"
DEPTH = "layers of a resnet, 6n+2, such as 20 or 110; instead of --n"
GROUPS = {section: Group(section.capitalize(), sort_key=at) for at, section in enumerate(SECTIONS, 10)}
#: The settings that most runs need; the help of verbs with many flags begins with them.
BASIC = (
    *("dataset", "validation", "augment", "n", "filters", "epochs", "batch_size", "lr", "seed"),
    *("workers", "name", "resume", "data_dir"),
)
_MANY = 20  #: flags, with which a help has a basic part
_BASIC = Group("Most used", sort_key=5)

#: The recipe, as every verb that takes one has it.
Recipe = Annotated[str, Parameter(["--recipe", "--config", "-c"], help="TOML file, or name of a shipped recipe")]


def takes_settings(*names: str, **defaults: str) -> Callable[[F], F]:
    """Gives a verb one keyword flag for each of these settings (default: all); they arrive in `**flags`.

    `flags` holds text, and only the settings that were on the command line. `defaults`: where the verb has other
    defaults than the settings, for its help.
    """

    def decorate(verb: F) -> F:
        formals = [p for p in signature(verb).parameters.values() if p.kind is not Formal.VAR_KEYWORD]
        own = [p.replace(annotation=verb.__annotations__[p.name]) for p in formals]
        listed = names or tuple(SETTINGS)
        basic = BASIC if len(listed) > _MANY else ()
        flags = [flag for name in listed for flag in _flags(name, defaults.get(name), basic=name in basic)]
        verb.__signature__ = signature(verb).replace(parameters=[*own, *flags])  # type: ignore[attr-defined]  # read by inspect.signature
        return verb

    return decorate


def texts(flags: Mapping[str, str | bool]) -> dict[str, str]:
    """What arrived in `**flags`, as text: a switch is "true" or "false"."""
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in flags.items()}


def with_defaults(defaults: Mapping[str, str], flags: Mapping[str, str | bool]) -> dict[str, str]:
    """As `texts`, over the defaults of a verb: --depth replaces a default of n, as --n does."""
    found = texts(flags)
    given = {OTHER_NAMES.get(name, name) for name in found}
    return {name: text for name, text in defaults.items() if name not in given} | found


def silenced(flags: Mapping[str, str | bool], *, quiet: bool) -> dict[str, str]:
    """As `texts`, with the effect of --quiet. Raises UsageError where another format is asked for as well."""
    found = texts(flags)
    if not quiet:
        return found
    if found.setdefault("log_format", "quiet") != "quiet":
        raise UsageError(f"--quiet and --log-format {found['log_format']}: give one of them")
    return found


def use_deployment(flags: Mapping[str, str | bool]) -> DeploymentConfig:
    """The deployment of environment and flags. Chooses the kernels of --isa: call this before they are imported."""
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    return deployment


def _flags(name: str, own_default: str | None, *, basic: bool) -> list[Formal]:
    setting = SETTINGS[name]
    group = _BASIC if basic else GROUPS[setting.section]
    kind: Any = str
    if isinstance(setting.rule, Whole):
        kind = int
    elif isinstance(setting.rule, Real):
        kind = float
    elif isinstance(setting.rule, Switch):
        kind = bool
    elif isinstance(setting.rule, Choice):
        kind = Literal[setting.rule.words]
    default = setting.default
    shown = own_default or (",".join(map(str, default)) if isinstance(default, tuple) else str(default))
    about = setting.about + (f" [{shown.lower() if isinstance(setting.rule, Switch) else shown}]" if shown else "")
    spellings = [setting.flag, *([setting.short] if setting.short else [])]
    found = [_formal(name, Parameter(name=spellings, help=about, group=group), kind)]
    if name == "n":
        found.append(_formal("depth", Parameter(name=["--depth"], help=DEPTH, group=group), int))
    return found


def _formal(name: str, about: Parameter, kind: Any) -> Formal:  # noqa: ANN401  # a type, or Literal
    parameter = Parameter.combine(about, Parameter(converter=_text, show_default=False))
    return Formal(
        name, Formal.KEYWORD_ONLY, default=None, annotation=Annotated[kind if kind is bool else kind | None, parameter]
    )


def _text(_: type, tokens: Sequence[Token]) -> str:
    """The text of the flag, unchanged (switches do not come this way)."""
    return tokens[0].value
