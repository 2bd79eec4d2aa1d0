"""`dptrain augmenter`."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.address import coordinator_address
from dptrain.cli.flags import INSECURE, takes_config, texts
from dptrain.configfile import resolve


@takes_config("data_dir", "keys")
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
    from dptrain.workers.augment import Options, augment

    options = Options(
        connect=address,
        bind=bind,
        number=number,
        of=of,
        data_dir=deployment.data_dir,
        keys=deployment.keys,
        insecure=insecure or os.environ.get("DPTRAIN_INSECURE") == "1",
    )
    code: int = augment(options)
    return code
