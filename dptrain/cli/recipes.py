"""`dptrain recipes`: the shipped recipes, and what each of them is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from dptrain.cli.helping import row
from dptrain.configfile import recipes as shipped


def recipes() -> int:
    """List the shipped recipes. `dptrain train --recipe NAME --print-config` shows one in full."""
    width = shutil.get_terminal_size().columns
    for name, path in sorted(shipped().items()):
        print("\n".join(row(name, about(path), width)))
    return 0


def about(path: Path) -> str:
    """The first sentence of the comment a recipe begins with."""
    comment = re.match(r"(?:#.*\n)+", path.read_text(encoding="utf-8"))
    text = " ".join(re.sub(r"^# ?", "", comment[0], flags=re.MULTILINE).split()) if comment else ""
    return re.split(r"(?<=[.?])(?<!al\.) (?=[A-Z0-9])", text)[0]
