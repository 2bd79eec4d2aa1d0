"""The pickles of CIFAR's python batches, read without letting them run anything. Their meaning: cifar10.py."""

from __future__ import annotations

import io
import pickle
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dptrain.errors import DataError
from dptrain.pickles import UNSOUND, Foreign, load_admitted
from dptrain.types import U8


class _Dtype:
    """Stands in for numpy.dtype: keeps the name, builds nothing."""

    __slots__ = ("name",)

    def __init__(self, name: object, *_: object) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else name

    def __setstate__(self, state: object) -> None:
        """Byte order and the like mean nothing for single bytes."""


class _Array:
    """Stands in for numpy.ndarray and the function that makes one; can only become a uint8 array."""

    __slots__ = ("value",)

    def __init__(self, *_: object) -> None:
        self.value: U8 | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), tuple(shape), _Dtype(name="u1"), bool() | int() as fortran, bytes(data)) if not fortran:
                if all(isinstance(n, int) and n >= 0 for n in shape) and prod(shape) == len(data):
                    self.value = np.frombuffer(data, np.uint8).reshape(shape)
                    return
            case (_, _, _Dtype(name=name), *_) if name != "u1":
                raise pickle.UnpicklingError(f"it holds an array of dtype {name!r}, not of unsigned bytes")
        raise pickle.UnpicklingError("it holds an array that is not a plain C-ordered one of unsigned bytes")


#: All that the official files name, in the spelling of NumPy before and since 2.0, and what they get instead.
_ADMITTED: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}

_MOST_BYTES = 512 << 20  #: of a file; CIFAR-100's training file, the largest, has 155 MB


def whole(path: Path) -> bytes:
    """The file's bytes. Raises DataError, naming it."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are read")
        return path.read_bytes()
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}") from e


def load_batch(path: Path) -> dict[str, Any]:
    """The dictionary of one batch, with text keys and uint8 arrays. Raises DataError, naming the file."""
    raw = whole(path)
    try:
        content = load_admitted(io.BytesIO(raw), len(raw), _ADMITTED)
    except Foreign as e:
        raise DataError(f"{path} names {e}, which no CIFAR batch holds: refused, do not trust this file") from e
    except UNSOUND as e:
        raise DataError(f"{path} is not a CIFAR batch, or a damaged one: {' '.join(str(e).split())}") from e
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not the dictionary of a CIFAR batch")
    return {_text(k): v.value if isinstance(v, _Array) else v for k, v in content.items()}


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
