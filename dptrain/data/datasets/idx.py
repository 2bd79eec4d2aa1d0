"""The IDX format of MNIST (unsigned bytes only), gzipped or not, read strictly. Which files make a set: catalog.py."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from dptrain.errors import DataError
from dptrain.types import U8

_MOST_BYTES = 1 << 30  #: unpacked; the largest known, EMNIST's, have 550 MB


def read_idx(path: Path, dims: int) -> U8:
    """A file with `dims` dimensions. Gzip is noticed by content, not by name. Raises DataError, naming the file."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            raw = (gzip.GzipFile(fileobj=file) if packed else file).read(_MOST_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as e:
        raise DataError(f"{path} is a damaged gzip file ({e}): fetch it again") from e
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}") from e
    if len(raw) > _MOST_BYTES:
        raise DataError(f"{path} holds more than {_MOST_BYTES:,} bytes{' when unpacked' * packed}: refused")
    return parse_idx(raw, dims, str(path))


def parse_idx(raw: bytes, dims: int, source: str) -> U8:
    """The bytes of one whole IDX array: magic 00 00 08 `dims`, big-endian sizes, then exactly as many bytes.

    Returns a read-only view of `raw`. Raises DataError, naming `source`.
    """
    magic = bytes((0, 0, 8, dims))
    if raw[:4] != magic:
        raise DataError(
            f"{source} begins with {raw[:4].hex(' ') or 'nothing'}; an IDX file of unsigned bytes with {dims} "
            f"dimension{'s' * (dims > 1)} begins with {magic.hex(' ')}"
        )
    head = 4 + 4 * dims
    if len(raw) < head:
        raise DataError(f"{source} ends after {len(raw)} bytes, inside its header: fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dims, offset=4))
    if len(raw) - head != prod(shape):
        raise DataError(f"{source} holds {len(raw) - head} bytes of data; its header {shape} wants {prod(shape)}")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)
