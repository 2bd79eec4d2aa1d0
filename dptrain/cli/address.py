"""Where the coordinator is, for those who connect to it."""

from __future__ import annotations

import os

from dptrain.errors import UsageError


def coordinator_address(connect: str) -> str:
    """--connect, else $DPTRAIN_COORDINATOR. Raises UsageError where neither is given."""
    address = connect or os.environ.get("DPTRAIN_COORDINATOR", "")
    if not address:
        raise UsageError("which coordinator? --connect tcp://HOST:PORT, or DPTRAIN_COORDINATOR")
    return address
