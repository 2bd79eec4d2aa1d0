"""Waiting for what another thread, socket or process does."""

import time

DEADLINE = 120.0  #: seconds; on an idle machine nothing that is waited for takes one


def until(happens, *, seconds=DEADLINE):
    """The first true value of happens(), which itself waits a little at each call."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = happens()
        if value:
            return value
    raise AssertionError(f"nothing happened in {seconds} s")
