"""`dptrain coordinator`."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from dptrain.api.plan import plan
from dptrain.cli.flags import INSECURE, QUIET, silenced, takes_config
from dptrain.config import SECTION_OF
from dptrain.errors import MissingArgumentError

_ELSEWHERE = ("workers", "augmenters", "threads")  #: are started by somebody else


@takes_config(*(field for field in SECTION_OF if field not in _ELSEWHERE))
def coordinator(
    *,
    recipe: Annotated[str, Parameter(["--recipe", "--config", "-c"], help="TOML file, or name of a shipped one")] = "",
    insecure: Annotated[bool, Parameter(negative=(), help=INSECURE)] = False,
    quiet: Annotated[bool, Parameter(["--quiet", "-q"], negative=(), help=QUIET)] = False,
    **flags: str | bool,
) -> int:
    """Lead a run whose workers are started elsewhere with `dptrain worker --connect`.

    Flags as for train, but those of processes that train starts.
    """
    chosen = plan(recipe, os.environ, silenced(flags, quiet=quiet), dict.fromkeys(_ELSEWHERE, 0))
    if chosen.config.deployment.bind == "ipc":
        raise MissingArgumentError(
            "a coordinator needs an address for its workers: --bind tcp://HOST:PORT, or ipc://@NAME on this host"
        )
    os.environ["DPTRAIN_ISA"] = chosen.config.deployment.isa
    if insecure:
        os.environ["DPTRAIN_INSECURE"] = "1"
    from dptrain.cli.training import run  # imports Numba: only now is the ISA known

    return run(chosen, launch=False)
