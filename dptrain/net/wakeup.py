"""A file descriptor that one thread sets and another one polls. Nothing else."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Sequence


class Wakeup:
    """Set from any thread, also after `close`; readable until cleared."""

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
        """Makes it unreadable. Clear first, look then: what is set in between wakes again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """Gives the descriptor back."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)


def wait(fds: Sequence[int], timeout: float) -> None:
    """Returns when one of the descriptors is readable or has hung up, at the latest after `timeout` seconds."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    poller.poll(max(0.0, timeout) * 1000)
