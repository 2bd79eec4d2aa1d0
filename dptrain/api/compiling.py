"""Tells the user why a first start takes half a minute: kernels are being compiled."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TypeAlias

from dptrain.kernels.compiled import cache_directory

Tick: TypeAlias = Callable[[str], None]  #: shows a text in place of the last one; "" at the end

_PATIENCE = 2.0  #: seconds before the first line; with compiled kernels a run begins after about one
_GLANCE = 0.5  #: seconds between two looks into the cache
_EVERY = 10.0  #: seconds between two lines where the terminal cannot replace a line


@contextmanager
def word_about_compiling(tick: Tick | None = None, over: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Reports on stderr that kernels are being compiled, then their number, by `tick` or in further lines: until the
    block is left or `over` is true. Every process that compiles adds files to the cache; without new ones no report.
    """
    left, kept = Event(), _kept()
    thread = Thread(target=_watch, args=(kept, tick, lambda: left.wait(_GLANCE) or over()), name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()  # else its last text could come after this one
        if tick:
            tick("")


def terminal_line() -> Tick | None:
    """Replaces the last line of stderr; None if stderr is no terminal that can do it."""
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
            due = seconds + _EVERY
        elif tick is None and seconds >= due:
            sys.stderr.write(f"{text}\n")
            due = seconds + _EVERY
        if tick:
            tick(text)


def _kept() -> int:
    return sum(1 for _ in Path(cache_directory()).rglob("*.nbc"))
