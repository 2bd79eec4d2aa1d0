"""Waiting for what another thread, socket or process does."""

import time

DEADLINE = 20.0  #: seconds; nothing that waits here takes one, on an idle machine


def until(happens, *, seconds=DEADLINE):
    """The first true value of happens(), which itself waits a little at each call."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = happens()
        if value:
            return value
    raise AssertionError(f"nothing happened in {seconds} s")
