"""A word about the compiler, for whom a network is new on this machine. Imports kernels."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TypeAlias

from dptrain.kernels._jit import cache_directory

Tick: TypeAlias = Callable[[str], None]  #: shows a text in the place of the last one; "" at the end

_PATIENCE = 2.0  #: seconds before the first word; with compiled kernels a run begins after about one
_GLANCE = 0.5  #: seconds between two looks
_AGAIN = 10.0  #: seconds between two lines where nothing can be shown in the place of another


@contextmanager
def word_about_compiling(tick: Tick | None = None, over: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Says on stderr what takes so long, where kernels are being compiled, and by `tick` (or in further lines) that it
    goes on, until the block is left or it is `over`. Whoever compiles, here or in another process, leaves files in the
    cache: where none appear, the machine is slow and there is nothing to say.
    """
    left, kept = Event(), _kept()
    thread = Thread(target=_watch, args=(kept, tick, lambda: left.wait(_GLANCE) or over()), name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join(_GLANCE)
        if tick:
            tick("")


def terminal_line() -> Tick | None:
    """A line of stderr that changes; None where that is no terminal that can do it."""
    able = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def tick(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return tick if able else None


def _watch(before: int, tick: Tick | None, over: Callable[[], bool]) -> None:
    begin, due = time.monotonic(), 0.0
    while not over():
        seconds, kernels = time.monotonic() - begin, _kept() - before
        if seconds < _PATIENCE or kernels <= 0:
            continue
        text = f"compiling kernels: {seconds:.0f} s, {kernels} so far"
        if not due:
            where = f"kept in {cache_directory()}"
            sys.stderr.write(f"compiling kernels for this network and CPU, once: about half a minute ({where})\n")
            due = seconds + _AGAIN
        elif tick is None and seconds >= due:
            sys.stderr.write(f"{text}\n")
            due = seconds + _AGAIN
        if tick:
            tick(text)


def _kept() -> int:
    return sum(1 for _ in Path(cache_directory()).rglob("*.nbc"))
