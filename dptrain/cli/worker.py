"""`dptrain worker` and `dptrain augmenter`: processes that connect to a coordinator."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.flags import INSECURE, takes_settings, texts
from dptrain.errors import MissingArgumentError
from dptrain.recipefile import resolve

Connect = Annotated[str, Parameter(help="address of the coordinator, tcp://HOST:PORT; default $DPTRAIN_COORDINATOR")]
Insecure = Annotated[bool, Parameter("--insecure", negative=(), help=INSECURE)]


@takes_settings("data_dir", "isa", "keys", "networks")
def worker(
    *,
    connect: Connect = "",
    augmenters: Annotated[
        str, Parameter(help="addresses of the augmenters, separated by commas; the same for all workers")
    ] = "",
    worker_name: Annotated[str, Parameter("--name", help="name in logs; default: host and process")] = "",
    insecure: Insecure = False,
    **flags: str | bool,
) -> int:
    """Compute gradients for a coordinator. The coordinator says what is trained, and how."""
    address = _coordinator(connect)
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    logging.getLogger("dptrain").setLevel(logging.INFO)
    from dptrain.workers.gradient import Options, work

    return work(
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


@takes_settings("data_dir", "keys")
def augmenter(
    *,
    connect: Connect = "",
    bind: Annotated[str, Parameter(help="address at which workers ask for shards, tcp://HOST:PORT")],
    number: Annotated[int, Parameter(help="number of this augmenter, from 0")] = 0,
    of: Annotated[int, Parameter(help="number of augmenters; the workers must know all of them")] = 1,
    insecure: Insecure = False,
    **flags: str | bool,
) -> int:
    """Prepare images a few steps ahead of the workers. The coordinator says what is trained."""
    address = _coordinator(connect)
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    logging.getLogger("dptrain").setLevel(logging.INFO)
    from dptrain.workers.augmenter import Options, augment

    return augment(
        Options(
            connect=address,
            bind=bind,
            number=number,
            of=of,
            data_dir=deployment.data_dir,
            keys=deployment.keys,
            insecure=insecure or os.environ.get("DPTRAIN_INSECURE") == "1",
        )
    )


def _coordinator(connect: str) -> str:
    """--connect, else $DPTRAIN_COORDINATOR. Raises MissingArgumentError where neither is given."""
    address = connect or os.environ.get("DPTRAIN_COORDINATOR", "")
    if not address:
        raise MissingArgumentError("which coordinator? Give --connect tcp://HOST:PORT, or set DPTRAIN_COORDINATOR")
    return address
