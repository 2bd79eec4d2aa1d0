"""`dptrain train`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from dptrain.api.plan import plan, refuse_unused_address
from dptrain.cli.flags import INSECURE, QUIET, Recipe, silenced, takes_settings
from dptrain.recipefile import to_toml


@takes_settings()
def train(
    *,
    recipe: Recipe = "",
    print_config: Annotated[bool, Parameter(negative=(), help="print the resolved configuration and stop")] = False,
    insecure: Annotated[bool, Parameter(negative=(), help=INSECURE)] = False,
    quiet: Annotated[bool, Parameter(["--quiet", "-q"], negative=(), help=QUIET)] = False,
    **flags: str | bool,
) -> int:
    """Train a network; the run is left in runs/NAME. Flags win over DPTRAIN_* variables, these over the recipe."""
    chosen = plan(recipe, os.environ, silenced(flags, quiet=quiet))
    refuse_unused_address(chosen)
    if print_config:
        sys.stdout.write(to_toml(chosen.config))
        return 0
    os.environ["DPTRAIN_ISA"] = chosen.config.deployment.isa
    if insecure:
        os.environ["DPTRAIN_INSECURE"] = "1"
    from dptrain.cli.training import run  # imports Numba: only now is the ISA known

    return run(chosen, launch=True)
