"""The configuration from its four sources (default < recipe < environment < flags), and as TOML. Read once, in cli/."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from dptrain.config import SECTION_OF, SECTIONS, Config, build, from_sections, values
from dptrain.configrules import Value, check, nearest, parse
from dptrain.errors import UsageError
from dptrain.recipes import shipped

ENV_PREFIX = "DPTRAIN_"
#: Variables with our prefix that are not settings, and what each is for.
OTHER_ENV = {
    "DPTRAIN_DATA": "directory of the data sets (dptrain.data)",
    "DPTRAIN_CACHE": "directory of compiled kernels (dptrain.kernels)",
    "DPTRAIN_RECIPE": "recipe used if there is no --recipe",
    "DPTRAIN_COORDINATOR": "address `dptrain worker` and `dptrain augmenter` connect to",
    "DPTRAIN_KEYSTORE": "where `dptrain keys` keeps the keys of a cluster",
    "DPTRAIN_INSECURE": "1: as --insecure: connections beyond this host need no keys",
    "DPTRAIN_PYTHON": "Python that launch/ makes the environment with",
    "DPTRAIN_VENV": "where launch/ keeps the environment",
    "DPTRAIN_SHARED_DATA": "large files the tests may use",
}
RECIPE_SUFFIX = ".toml"


class Given(NamedTuple):
    """What recipe, environment and flags set together: checked values by bare field name, and the source of each."""

    values: dict[str, Value]
    origin: dict[str, str]


def gather(recipe: str, environ: Mapping[str, str], flags: Mapping[str, str]) -> Given:
    """The layers above the defaults; a later one wins. `flags` holds text by bare field name.

    Raises UsageError naming the source, the key, the value and what is allowed.
    """
    recipe = recipe or environ.get("DPTRAIN_RECIPE", "")
    given = Given({}, {})
    for source, layer in (
        (f"recipe {recipe}", read_recipe(recipe) if recipe else {}),
        ("the environment", from_environment(environ)),
        ("the command line", from_flags(flags)),
    ):
        given.values.update(layer)
        given.origin.update(dict.fromkeys(layer, source))
    return given


def resolve(
    recipe: str = "", environ: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Config:
    """The configuration of all layers, checked. Raises UsageError."""
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
        return from_toml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def from_toml(text: str) -> dict[str, Value]:
    """Checked values by bare name. Raises UsageError."""
    try:
        return from_sections(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not TOML: {error}") from error


def to_toml(config: Config) -> str:
    """The whole configuration; `from_toml` gives the same back, so it can be used as a recipe."""
    tables: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in values(config).items():
        tables[SECTION_OF[name]][name] = list(value) if isinstance(value, tuple) else value
    return tomli_w.dumps(tables)


def from_environment(environ: Mapping[str, str]) -> dict[str, Value]:
    """DPTRAIN_BATCH_SIZE=64 and the like. An unknown name with our prefix is refused: it would be silently ignored."""
    found: dict[str, Value] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX) or variable in OTHER_ENV:
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name not in SECTION_OF or variable != variable.upper():
            known = [*OTHER_ENV, *(ENV_PREFIX + n.upper() for n in SECTION_OF)]
            raise UsageError(f"unknown environment variable {variable}{nearest(variable.upper(), known)}")
        try:
            found[name] = parse(name, text)
        except UsageError as error:
            raise UsageError(f"{variable}: {error}") from error
    return found


def from_flags(flags: Mapping[str, str]) -> dict[str, Value]:
    """Text of the flags by bare field name."""
    found: dict[str, Value] = {}
    for name, text in flags.items():
        try:
            found[name] = parse(name, text)
        except UsageError as error:
            raise UsageError(f"--{name.replace('_', '-')}: {error}") from error
    return found
