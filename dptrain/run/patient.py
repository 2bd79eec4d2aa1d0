"""A file that is appended to while the disk may be full: what cannot be written waits in memory, in order, whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

MOST = 64 * 1024 * 1024  #: bytes that wait; metrics of a quarter of a million steps


class PatientFile:
    """Append only. `write` never raises; `sync` does. Safe to use from two threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault = ""  #: why something waits; "" while nothing does
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray()
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Through to the file, or to what waits for it. Beyond MOST it is lost, as it would be without memory."""
        with self._lock:
            if len(self._waiting) + len(data) <= MOST:
                self._waiting += data
            self._drain()

    def sync(self) -> None:
        """Makes everything durable. Raises OSError where that cannot be."""
        with self._lock:
            error = self._drain()
            if error is not None:
                raise error
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Tries once more, then closes. Safe to call twice."""
        with self._lock:
            if not self._file.closed:
                self._drain()
                self._file.close()

    def _drain(self) -> OSError | None:
        """A write may take a part only: the rest follows later, at its place."""
        try:
            while self._waiting:
                done = self._file.write(self._waiting)
                del self._waiting[: done or 0]
        except OSError as error:
            self.fault = error.strerror or str(error)
            return error
        self.fault = ""
        return None
