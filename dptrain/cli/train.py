"""`dptrain train`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from dptrain.api.plan import plan
from dptrain.cli.flags import INSECURE, QUIET, silenced, takes_config
from dptrain.configfile import to_toml
from dptrain.errors import UsageError


@takes_config()
def train(
    *,
    recipe: Annotated[str, Parameter(["--recipe", "--config", "-c"], help="TOML file, or name of a shipped one")] = "",
    print_config: Annotated[bool, Parameter(negative=(), help="print the resolved configuration and stop")] = False,
    insecure: Annotated[bool, Parameter(negative=(), help=INSECURE)] = False,
    quiet: Annotated[bool, Parameter(["--quiet", "-q"], negative=(), help=QUIET)] = False,
    **flags: str | bool,
) -> int:
    """Train a network; the run is left in runs/NAME. Flags win over DPTRAIN_* variables, these over the recipe."""
    chosen = plan(recipe, os.environ, silenced(flags, quiet=quiet), {})
    deployment = chosen.config.deployment
    if deployment.workers == 0 and deployment.bind != "ipc":
        raise UsageError(
            f"workers = 0 trains inside this process, where bind = {deployment.bind!r} cannot be used: "
            "set --bind ipc or --workers, or wait for workers from elsewhere with `dptrain coordinator`"
        )
    if print_config:
        sys.stdout.write(to_toml(chosen.config))
        return 0
    os.environ["DPTRAIN_ISA"] = deployment.isa
    if insecure:
        os.environ["DPTRAIN_INSECURE"] = "1"
    from dptrain.cli.training import run  # imports Numba: only now is the ISA known

    return run(chosen, launch=True)
