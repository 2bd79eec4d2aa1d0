"""Is a file what a source promises? Digests of contents, streamed. Where the promises stand: sources.py."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from dptrain.data.sources import Source
from dptrain.errors import DataError

_BLOCK = 1 << 20
_MOST_BYTES = 1 << 30  #: of what comes out of a single .gz: the largest known is 47 MB


def digest(path: Path, algorithm: str, *, unpacked: bool = False) -> str:
    """In the form "sha256:..." of the file, or of what a gzipped one holds. Raises DataError naming the file."""
    h = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with path.open("rb") as plain:
            packed = unpacked and plain.read(2) == b"\x1f\x8b"
        total = 0
        with gzip.open(path) if packed else path.open("rb") as file:
            while block := file.read(_BLOCK):
                total += len(block)
                if packed and total > _MOST_BYTES:
                    raise DataError(f"{path} unpacks to more than {_MOST_BYTES:,} bytes: refused")
                h.update(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return f"{algorithm}:{h.hexdigest()}"


def found(path: Path, source: Source) -> str:
    """The file's digest in the kind and of the content that the source's is of. Raises DataError."""
    single = source.file.endswith(".gz") and not source.file.endswith(".tar.gz")
    return digest(path, source.digest.partition(":")[0], unpacked=single)
