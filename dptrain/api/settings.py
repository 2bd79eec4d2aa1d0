"""Settings as Python gives them, as text: the form in which flags are checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from dptrain.config import SECTION_OF
from dptrain.configrules import Value, nearest
from dptrain.errors import UsageError

Setting: TypeAlias = Value | Path | list[int] | list[float] | list[str]


def texts(settings: Mapping[str, Setting]) -> dict[str, str]:
    """By bare name, as `dptrain.configfile` takes them. Raises UsageError for a name that does not exist."""
    for name in settings:
        if name not in SECTION_OF:
            raise UsageError(f"there is no setting {name!r}{nearest(name, SECTION_OF)}")
    return {name: _text(value) for name, value in settings.items()}


def _text(value: Setting) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
