"""How a worker or augmenter process begins and ends: tied to its launcher, with a log and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from dptrain.errors import DptrainError
from dptrain.processes.stopping import die_with


def run(launcher: int, body: Callable[[], int]) -> int:
    """Runs body() and returns its exit code; a known error becomes lines on stderr. `launcher`: process id, 0: none."""
    if launcher:
        die_with(launcher)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    try:
        return body()
    except DptrainError as error:
        for line in (f"error: {error}", *getattr(error, "__notes__", ())):
            sys.stderr.write(f"dptrain: {line}\n")
        return error.exit_code
