"""`dptrain augmenter`."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from cyclopts import Parameter

from dptrain.api.plan import planned
from dptrain.cli.flags import INSECURE, QUIET, Recipe, silenced, takes_settings, texts
from dptrain.errors import MissingArgumentError
from dptrain.recipefile import gather, resolve
from dptrain.settings import SETTINGS


def coordinator_address(connect: str) -> str:
    """--connect, else $DPTRAIN_COORDINATOR. Raises MissingArgumentError where neither is given."""
    address = connect or os.environ.get("DPTRAIN_COORDINATOR", "")
    if not address:
        raise MissingArgumentError("which coordinator? --connect tcp://HOST:PORT, or DPTRAIN_COORDINATOR")
    return address


_ELSEWHERE = ("workers", "augmenters", "threads")  #: are started by somebody else


@takes_settings(*(field for field in SETTINGS if field not in _ELSEWHERE))
def coordinator(
    *,
    recipe: Recipe = "",
    insecure: Annotated[bool, Parameter(negative=(), help=INSECURE)] = False,
    quiet: Annotated[bool, Parameter(["--quiet", "-q"], negative=(), help=QUIET)] = False,
    **flags: str | bool,
) -> int:
    """Lead a run whose workers are started elsewhere with `dptrain worker --connect`.

    Flags as for train, but those of processes that train starts.
    """
    chosen = planned(gather(recipe, os.environ, silenced(flags, quiet=quiet)), dict.fromkeys(_ELSEWHERE, 0))
    if chosen.config.deployment.bind == "ipc":
        raise MissingArgumentError(
            "a coordinator needs an address for its workers: --bind tcp://HOST:PORT, or ipc://@NAME on this host"
        )
    os.environ["DPTRAIN_ISA"] = chosen.config.deployment.isa
    if insecure:
        os.environ["DPTRAIN_INSECURE"] = "1"
    from dptrain.cli.training import run  # imports Numba: only now is the ISA known

    return run(chosen, launch=False)


@takes_settings("data_dir", "isa", "keys", "networks")
def worker(
    *,
    connect: Annotated[str, Parameter(help="coordinator, tcp://HOST:PORT; default $DPTRAIN_COORDINATOR")] = "",
    augmenters: Annotated[str, Parameter(help="addresses, with commas; the same for all workers")] = "",
    worker_name: Annotated[str, Parameter("--name", help="for people; default host and process")] = "",
    insecure: Annotated[bool, Parameter(negative=(), help=INSECURE)] = False,
    **flags: str | bool,
) -> int:
    """Compute gradients for a coordinator. What is trained, and how, comes from there."""
    address = coordinator_address(connect)
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    logging.getLogger("dptrain").setLevel(logging.INFO)
    from dptrain.workers.gradient import Options, work

    code = work(
        Options(
            connect=address,
            augmenters=tuple(filter(None, augmenters.split(","))),
            data_dir=deployment.data_dir,
            name=worker_name,
            isa=deployment.isa,
            networks=deployment.networks,
            keys=deployment.keys,
            insecure=insecure or os.environ.get("DPTRAIN_INSECURE") == "1",
        )
    )
    return code


@takes_settings("data_dir", "keys")
def augmenter(
    *,
    connect: Annotated[str, Parameter(help="coordinator, tcp://HOST:PORT; default $DPTRAIN_COORDINATOR")] = "",
    bind: Annotated[str, Parameter(help="where workers ask for shards, tcp://HOST:PORT")],
    number: Annotated[int, Parameter(help="place of this augmenter among all, from 0")] = 0,
    of: Annotated[int, Parameter(help="augmenters in all; the workers must know every one")] = 1,
    insecure: Annotated[bool, Parameter(negative=(), help=INSECURE)] = False,
    **flags: str | bool,
) -> int:
    """Prepare shards a few steps ahead of the workers. What is trained comes from the coordinator."""
    address = coordinator_address(connect)
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    logging.getLogger("dptrain").setLevel(logging.INFO)
    from dptrain.workers.augmenter import Options, augment

    options = Options(
        connect=address,
        bind=bind,
        number=number,
        of=of,
        data_dir=deployment.data_dir,
        keys=deployment.keys,
        insecure=insecure or os.environ.get("DPTRAIN_INSECURE") == "1",
    )
    code = augment(options)
    return code
