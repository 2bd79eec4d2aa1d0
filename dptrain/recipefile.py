"""Reads the settings of a run from their sources, and writes them as TOML.

The sources, from the weakest to the strongest: defaults, the recipe, environment variables (DPTRAIN_*), flags or the
keywords of `dptrain.fit`. Where a stronger source makes a setting of a weaker one meaningless, that setting is dropped
and a warning says so: `--recipe sfddd --schedule cosine` drops the recipe's milestones.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from dptrain.errors import UsageError, nearest
from dptrain.recipes import shipped
from dptrain.rules import Value
from dptrain.settings import SECTIONS, SETTINGS, Config, build, check, from_sections, not_used, values

ENV_PREFIX = "DPTRAIN_"
#: Variables with our prefix that are not settings, and what each is for.
OTHER_ENV = {
    "DPTRAIN_DATA": "directory of the data sets",
    "DPTRAIN_CACHE": "directory of compiled kernels",
    "DPTRAIN_RECIPE": "recipe used without --recipe",
    "DPTRAIN_COORDINATOR": "address that `dptrain worker` and `dptrain augmenter` connect to",
    "DPTRAIN_KEYSTORE": "directory in which `dptrain keys` keeps the keys of a cluster",
    "DPTRAIN_INSECURE": "1: same as --insecure; connections to other hosts need no keys",
    "DPTRAIN_PYTHON": "Python that the scripts in launch/ use to make the environment",
    "DPTRAIN_VENV": "directory of the environment that the scripts in launch/ make",
    "DPTRAIN_SHARED_DATA": "directory of large files that the tests may use",
}
RECIPE_SUFFIX = ".toml"
COMMAND_LINE, THIS_CALL = "the command line", "this call"
#: Names that flags and `dptrain.fit` accept besides the name of the setting; `depth` is converted to `n`.
OTHER_NAMES = {"depth": "n", "width": "filters"}

#: Flags of scripts for PyTorch, timm or Keras -> the flag here, for the hint; also for keywords of `dptrain.fit`.
ELSEWHERE = {
    "--learning-rate": "--lr",
    "--batch": "--batch-size",
    "--bs": "--batch-size",
    "--num-epochs": "--epochs",
    "--lr-schedule": "--schedule",
    "--lr-scheduler": "--schedule",
    "--scheduler": "--schedule",
    "--warmup-epochs": "--warmup",
    "--optimiser": "--optimizer",
    "--opt": "--optimizer",
    "--loss": "--criterion",
    "--smoothing": "--label-smoothing",
    "--clip-grad": "--clip-norm",
    "--clip-grad-norm": "--clip-norm",
    "--clipnorm": "--clip-norm",
    "--normalize": "--normalise",
    "--augmentation": "--augment",
    "--data": "--dataset",
    "--dataset-dir": "--data-dir",
    "--data-path": "--data-dir",
    "--num-workers": "--workers",
    "--processes": "--workers",
    "--nproc-per-node": "--workers",
    "--num-threads": "--threads",
    "--model": "--network",
    "--arch": "--network",
    "--random-seed": "--seed",
    "--output-dir": "--runs",
    "--output": "--out",
}


class Given(NamedTuple):
    """What recipe, environment and flags set together: checked values by name, and the source of each."""

    values: dict[str, Value]
    origin: dict[str, str]


def gather(recipe: str, environ: Mapping[str, str], flags: Mapping[str, str], *, caller: str = COMMAND_LINE) -> Given:
    """The sources above the defaults; a stronger one wins. `flags` holds text by name; `caller` names their source.

    Raises UsageError naming the source, the key, the value and what is allowed. Logs a warning for each source of which
    settings are dropped.
    """
    recipe = recipe or environ.get("DPTRAIN_RECIPE", "")
    given, dropped = merged(
        (
            (f"recipe {recipe}", read_recipe(recipe) if recipe else {}),
            ("the environment", from_environment(environ)),
            (caller, from_flags(flags, caller)),
        )
    )
    if "depth" in flags and (network := given.values.get("network", "resnet")) != "resnet":
        raise UsageError(f"depth = {flags['depth']} is for network resnet, but network = {network}: give n instead")
    if given.values.get("log_format") != "quiet":
        for line in dropped:
            logging.getLogger("dptrain").warning(line)
    return given


def merged(sources: Sequence[tuple[str, Mapping[str, Value]]]) -> tuple[Given, list[str]]:
    """The sources, (name, values) with the weakest first, as one; and one line for each source that lost settings.

    A setting that the merged values do not use is dropped where a stronger source decided that. Raises UsageError where
    one source other than the recipe, which is the first, gives both.
    """
    given = Given({}, {})
    rank: dict[str, int] = {}
    for at, (source, layer) in enumerate(sources):
        given.values.update(layer)
        given.origin.update(dict.fromkeys(layer, source))
        rank.update(dict.fromkeys(layer, at))
    now = values(build(given.values))
    dropped: dict[tuple[str, str], list[str]] = {}
    for name, at in rank.items():
        use = SETTINGS[name].use
        if use is None or use.by(now[use.other]) or now[name] == SETTINGS[name].default:
            continue
        stronger = rank.get(use.other, -1)
        if at < stronger:
            dropped.setdefault((given.origin[name], use.other), []).append(name)
        elif at == stronger and at > 0:
            raise UsageError(not_used(name, now))
    lines = []
    for (source, other), names in dropped.items():
        verb = "is" if len(names) == 1 else "are"
        reason = f"{other} = {now[other]} ({given.origin[other]})"
        lines.append(f"{', '.join(names)} of {source} {verb} dropped: not used with {reason}")
        for name in names:
            del given.values[name], given.origin[name]
    return given, lines


def resolve(
    recipe: str = "", environ: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Config:
    """The configuration of all sources, checked. Raises UsageError."""
    config = build(gather(recipe, environ or {}, flags or {}).values)
    check(config)
    return config


def read_recipe(recipe: str) -> dict[str, Value]:
    """The settings of a TOML file or of a shipped recipe. A name with a slash or ending in .toml is a file.

    Raises UsageError naming the file or, for an unknown recipe, the nearest name.
    """
    if "/" not in recipe and not recipe.endswith(RECIPE_SUFFIX):
        known = shipped()
        if recipe not in known:
            suggestion = nearest(recipe, known) or ";"
            raise UsageError(f"unknown recipe {recipe!r}{suggestion} `dptrain recipes --all` lists all")
        return known[recipe].values
    path = Path(recipe).expanduser()
    if not path.is_file():
        raise UsageError(f"recipe {recipe}: no such file; `dptrain recipes --all` lists the shipped recipes")
    try:
        return from_toml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def from_toml(text: str) -> dict[str, Value]:
    """Checked values by name. Raises UsageError."""
    try:
        return from_sections(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not TOML: {error}") from error


def to_toml(config: Config) -> str:
    """All settings; `from_toml` returns the same values, so the text can be used as a recipe."""
    tables: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in values(config).items():
        tables[SETTINGS[name].section][name] = list(value) if isinstance(value, tuple) else value
    return tomli_w.dumps(tables)


def from_environment(environ: Mapping[str, str]) -> dict[str, Value]:
    """DPTRAIN_BATCH_SIZE=64 and the like. A name with our prefix that is not known is refused, not ignored."""
    known = {each.variable: each for each in SETTINGS.values()}
    found: dict[str, Value] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX) or variable in OTHER_ENV:
            continue
        if variable not in known:
            hint = nearest(variable.upper(), [*OTHER_ENV, *known])
            raise UsageError(f"unknown environment variable {variable}{hint}")
        try:
            found[known[variable].name] = known[variable].parse(text)
        except UsageError as error:
            raise UsageError(f"{variable}: {error}") from error
    return found


def from_flags(flags: Mapping[str, str], caller: str = COMMAND_LINE) -> dict[str, Value]:
    """Checked values from text by name; `depth` and `width` stand for `n` and `filters`. Raises UsageError."""
    found: dict[str, Value] = {}
    for given, text in flags.items():
        name = OTHER_NAMES.get(given, given)
        if name in found or (name != given and name in flags):
            raise UsageError(f"{given} and {name} set the same thing: give one of them")
        try:
            found[name] = _blocks(text) if given == "depth" else SETTINGS[name].parse(text)
        except UsageError as error:
            raise UsageError(
                f"--{given.replace('_', '-')}: {error}" if caller == COMMAND_LINE else str(error)
            ) from error
    return found


def _blocks(depth: str) -> Value:
    """n of a resnet with so many layers. Raises UsageError with the nearest depths that there are."""
    low, high = 8, 6 * 200 + 2
    if not (depth.isascii() and depth.isdecimal() and low <= int(depth) <= high):
        raise UsageError(f"depth = {depth!r}: must be 6n + 2, from {low} to {high}, such as 20, 32 or 110")
    n, rest = divmod(int(depth) - 2, 6)
    if rest:
        raise UsageError(f"depth = {depth}: a resnet has 6n + 2 layers: choose {6 * n + 2} or {6 * n + 8}")
    return n
