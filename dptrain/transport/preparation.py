"""What is done before anybody polls, in a thread of its own: a signal then ends the wait for it, not the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

_GLANCE = 0.1  #: seconds


class Preparation:
    """Reading data and compiling kernels. An exception that a signal raises must not unwind the compiler, which
    swallows some, or is aborted in LLVM's callbacks (seen: exit codes 1 and -6).
    """

    def __init__(self) -> None:
        self._over = Event()  # Thread.is_alive is False after a join that an exception left (CPython 3.11, gh-90882)
        self._over.set()

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Main thread only: what a signal's handler raises comes out of here."""
        future: Future[T] = Future()

        def body() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  # whatever it is, it belongs to who waits
                future.set_exception(error)
            self._over.set()

        self._over.clear()
        Thread(target=body, name="preparation", daemon=True).start()
        while not self._over.wait(_GLANCE):  # a signal may hit the other thread: the handler runs when this one wakes
            pass
        return future.result()

    def leave(self, code: int) -> int:
        """The exit code; does not come back, but ends the process, where the work still goes on."""
        if self._over.is_set():
            return code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
