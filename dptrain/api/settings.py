"""Settings as Python gives them, as text: the form in which flags are checked; and errors in Python's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from dptrain.config import SECTION_OF
from dptrain.configrules import Value, nearest, parse
from dptrain.errors import DptrainError, UsageError

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
