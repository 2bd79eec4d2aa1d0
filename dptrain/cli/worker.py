"""`dptrain worker`."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.address import coordinator_address
from dptrain.cli.flags import INSECURE, takes_config, texts
from dptrain.configfile import resolve


@takes_config("data_dir", "isa", "keys", "networks")
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

    code: int = work(
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
