"""`dptrain train`, `dptrain coordinator` (a training whose workers are started separately) and `dptrain recipes`."""

from __future__ import annotations

import os
import shutil
import sys
from itertools import groupby
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dptrain.api.plan import Plan, plan, planned, refuse_unused_address
from dptrain.cli.app import complain
from dptrain.cli.flags import INSECURE, QUIET, Recipe, silenced, takes_settings
from dptrain.cli.help import row
from dptrain.errors import MissingArgumentError
from dptrain.recipefile import gather, to_toml
from dptrain.recipes import FIRST, shipped
from dptrain.settings import SETTINGS

_STARTED_ELSEWHERE = ("workers", "augmenters", "threads")  #: settings without a meaning for `dptrain coordinator`

Insecure = Annotated[bool, Parameter("--insecure", negative=(), help=INSECURE)]
Quiet = Annotated[bool, Parameter(["--quiet", "-q"], negative=(), help=QUIET)]


@takes_settings()
def train(
    *,
    recipe: Recipe = "",
    print_config: Annotated[
        bool, Parameter(negative=(), help="print the resulting settings as TOML, and stop")
    ] = False,
    insecure: Insecure = False,
    quiet: Quiet = False,
    **flags: str | bool,
) -> int:
    """Train a network into RUNS/NAME. Flags override DPTRAIN_* variables, which override the recipe."""
    chosen = plan(recipe, os.environ, silenced(flags, quiet=quiet))
    refuse_unused_address(chosen)
    if print_config:
        sys.stdout.write(to_toml(chosen.config))
        return 0
    return run(chosen, launch=True, insecure=insecure)


@takes_settings(*(name for name in SETTINGS if name not in _STARTED_ELSEWHERE))
def coordinator(
    *,
    recipe: Recipe = "",
    insecure: Insecure = False,
    quiet: Quiet = False,
    **flags: str | bool,
) -> int:
    """Lead a run whose workers are started separately, with `dptrain worker --connect`.

    It has the flags of train, except those for processes that train starts.
    """
    given = gather(recipe, os.environ, silenced(flags, quiet=quiet))
    chosen = planned(given, dict.fromkeys(_STARTED_ELSEWHERE, 0))
    if chosen.config.deployment.bind == "ipc":
        raise MissingArgumentError(
            "a coordinator needs an address for its workers: --bind tcp://HOST:PORT, or ipc://@NAME on this host"
        )
    return run(chosen, launch=False, insecure=insecure)


def run(chosen: Plan, *, launch: bool, insecure: bool = False) -> int:
    """Trains; returns the exit code. `launch`: with workers of this host.

    Prints one line on stderr where the training failed, or where the run to resume does not exist yet.
    """
    deployment = chosen.config.deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    if insecure:
        os.environ["DPTRAIN_INSECURE"] = "1"
    from dptrain.api.session import train as train_run  # imports Numba: only now is the ISA known
    from dptrain.processes.stopping import Interrupted, Preparation

    if deployment.resume == "auto" and deployment.name and not chosen.resumed and deployment.log_format != "quiet":
        path = Path(deployment.runs) / deployment.name
        sys.stderr.write(f"dptrain: note: no run {path} yet: starting it\n")
    preparation = Preparation()
    try:
        finished = train_run(chosen, preparation, launch=launch)
    except Interrupted as interrupted:
        sys.stderr.write(f"{interrupted}: stopped before the training began\n")
        return preparation.leave(interrupted.exit_code)
    return complain(finished.failure, finished.code) if finished.failure else finished.code


def recipes(
    *,
    everything: Annotated[bool, Parameter("--all", negative=(), help="list every recipe")] = False,
) -> int:
    """List the recipes to start with, or all. `dptrain train --recipe NAME --print-config` prints one in full."""
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
