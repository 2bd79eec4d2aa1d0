"""`dptrain recipes`: the shipped recipes, with one sentence each."""

from __future__ import annotations

import shutil
from itertools import groupby
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.helping import row
from dptrain.recipes import FIRST, shipped


def recipes(
    *,
    everything: Annotated[bool, Parameter("--all", negative=(), help="every recipe")] = False,
) -> int:
    """List recipes to start with, or all of them. `dptrain train --recipe NAME --print-config` prints one in full."""
    width = shutil.get_terminal_size().columns
    known = shipped()
    listed = known if everything else {name: known[name] for name in FIRST}
    groups = groupby(listed, lambda name: known[name].group if everything else "To start with")
    text = "\n\n".join(
        "\n".join([f"{title}:", *(line for name in names for line in row(name, known[name].about, width))])
        for title, names in groups
    )
    print(text if everything else f"{text}\n\n`dptrain recipes --all` lists all {len(known)} recipes.")
    return 0
