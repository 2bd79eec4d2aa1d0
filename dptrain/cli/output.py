"""Writes pictures and other files that a verb makes, whole or not at all; errors name the file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dptrain.atomic import write_atomically
from dptrain.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = {".png": "png", ".svg": "svg"}


def checked(path: Path) -> Path:
    """The path, if a picture can be written there. Raises UsageError before anything is computed."""
    if path.suffix.lower() not in _KINDS:
        raise UsageError(f"{path}: pictures are written as {' or '.join(_KINDS)}")
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name a file")
    return path


def save(drawn: Figure, path: Path) -> None:
    """Writes the figure in the format of the suffix, and prints the path. Raises UsageError where it cannot."""
    from dptrain.explain.drawing import render

    write(path, render(drawn, _KINDS[path.suffix.lower()]))
    sys.stdout.write(f"{path}\n")


def write(path: Path, content: bytes) -> None:
    """Writes the file and makes its folder. Raises UsageError where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
