"""A file descriptor that one thread sets and another one polls."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Sequence


class Wakeup:
    """An eventfd. `set` may be called from any thread, also after `close`; readable from then until `clear`."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._closed = False

    def fileno(self) -> int:
        return self._fd

    def set(self) -> None:
        """Makes it readable."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Makes it unreadable. Call it before looking at what was set: what is set in between wakes again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """Closes the descriptor."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)


def wait(fds: Sequence[int], timeout: float) -> None:
    """Waits until a descriptor is readable or its other end is closed, at most `timeout` seconds."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    poller.poll(max(0.0, timeout) * 1000)
