"""Files that are written whole or not at all: temporary file, fsync, rename, fsync of the directory."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_atomically(path: Path, *content: bytes | memoryview, mtime_ns: int | None = None) -> None:
    """Replaces `path` by these pieces: after a crash at any time there is the old file or the new one.

    mtime_ns: its time of modification, else now. Threads and processes may write the same file; the last one wins.
    Raises OSError with the file's name in it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if mtime_ns is not None:
            os.utime(temporary, ns=(mtime_ns, mtime_ns))
        temporary.replace(path)
    except BaseException as error:  # a second Ctrl-C too
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    sync_directory(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Removes temporary files that a killed process has left. The caller must be the only one who writes there."""
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
