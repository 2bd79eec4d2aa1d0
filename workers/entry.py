"""How a process the coordinator may have started begins and ends: with its launcher, a log, an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from dptrain.errors import DptrainError
from dptrain.processes.stopping import die_with


def run(launcher: int, body: Callable[[], int]) -> int:
    """body(), and its exit code; a known error is one line. `launcher`: process id of who has started it, 0: nobody."""
    if launcher:
        die_with(launcher)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    try:
        return body()
    except DptrainError as error:
        for line in (f"error: {error}", *getattr(error, "__notes__", ())):
            sys.stderr.write(f"dptrain: {line}\n")
        return error.exit_code
