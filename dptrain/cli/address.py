"""Where the coordinator is, for those who connect to it."""

from __future__ import annotations

import os

from dptrain.errors import MissingArgumentError


def coordinator_address(connect: str) -> str:
    """--connect, else $DPTRAIN_COORDINATOR. Raises MissingArgumentError where neither is given."""
    address = connect or os.environ.get("DPTRAIN_COORDINATOR", "")
    if not address:
        raise MissingArgumentError("which coordinator? --connect tcp://HOST:PORT, or DPTRAIN_COORDINATOR")
    return address
