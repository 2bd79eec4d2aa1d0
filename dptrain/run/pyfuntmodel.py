"""Reads PyFunt's model.npy: a dictionary of weights that `np.save` pickled, without running anything that stands in it.

Names are PyFunt's: W1, b1, gamma1, beta1 for the first convolution, (filters, channels, height, width), and so on up to
the affine layer, whose W has no gamma. BatchNorm's running statistics were never saved.

Source: numpy/lib/format.py `write_array`, ndarray.__reduce__. Difference: an array is a description, checked against
its bytes, before it is made.
"""

from __future__ import annotations

import io
import pickle
from math import prod
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy

from dptrain.errors import DataError
from dptrain.pickles import UNSOUND, Foreign, load_admitted
from dptrain.types import Floats

#: dtype name in the pickle -> bytes an element. Nothing else was ever a weight.
_FLOATS = {"f2": 2, "f4": 4, "f8": 8}


class _Dtype:
    """Stands in for numpy.dtype: keeps name and byte order, builds nothing."""

    __slots__ = ("name", "order")

    def __init__(self, name: object, *_: object) -> None:
        self.name, self.order = _text(name), "<"

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), order, None, None, None, *_) if _text(order) in ("<", ">", "|", "="):
                self.order = _text(order)
            case _:
                raise pickle.UnpicklingError(f"dtype {self.name!r} has fields or a strange byte order")


class _Array:
    """Stands in for numpy.ndarray and the function that makes one: floats, or the one box around the dictionary."""

    __slots__ = ("value",)

    def __init__(self, *_: object) -> None:
        self.value: object = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), (), _Dtype(name="O8"), _, [content]):
                self.value = content
            case (int(), tuple(shape), _Dtype() as dtype, bool() | int() as fortran, bytes(data)):
                self.value = _floats(shape, dtype, data, fortran=bool(fortran))
            case _:
                raise pickle.UnpicklingError("it holds an array that is not a plain one of floats")


#: All that a dictionary of arrays names, in the spelling of NumPy before and since 2.0, and what it gets instead.
_ADMITTED: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


def read_pyfunt(path: Path) -> dict[str, Floats]:
    """The weights in `path`, by PyFunt's names, in the file's order and types. Raises DataError, naming the file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        content = _load(raw)
    except Foreign as error:
        raise DataError(
            f"{path} names {error}, which no dictionary of weights needs: refused, nothing was run"
        ) from error
    except (*UNSOUND, TokenError) as error:  # NumPy takes a header apart as Python does
        raise DataError(
            f"{path} is no model.npy of PyFunt, or a damaged one: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} holds a {type(content).__name__}; PyFunt's model.npy holds a dictionary of weights")
    found: dict[str, Floats] = {}
    for key, value in content.items():
        if not isinstance(key, str | bytes) or not isinstance(value, _Array) or not isinstance(value.value, np.ndarray):
            raise DataError(
                f"{path}: entry {str(key)[:60]!r} is no array of floats; PyFunt's model.npy holds nothing else"
            )
        found[_text(key)] = value.value
    return found


def _load(raw: bytes) -> object:
    """What the .npy file holds: the content of its 0-d object array."""
    file = io.BytesIO(raw)
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format")
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = header(file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it holds an array of shape {shape} and dtype {dtype}, not a dictionary")
    box = load_admitted(file, len(raw), _ADMITTED)
    return box.value if isinstance(box, _Array) else box


def _floats(shape: tuple[object, ...], dtype: _Dtype, data: bytes, *, fortran: bool) -> Floats:
    counts = [n for n in shape if isinstance(n, int) and n >= 0]
    if dtype.name not in _FLOATS:
        raise pickle.UnpicklingError(f"it holds an array of dtype {dtype.name!r}; weights are {', '.join(_FLOATS)}")
    if len(counts) != len(shape) or prod(counts) * _FLOATS[dtype.name] != len(data):
        raise pickle.UnpicklingError(f"an array of shape {shape} and dtype {dtype.name} has {len(data)} bytes")
    flat = np.frombuffer(data, np.dtype(f"{dtype.order}{dtype.name}"))
    native = flat.astype(flat.dtype.newbyteorder("="))
    array: Floats = np.ascontiguousarray(native.reshape(counts, order="F" if fortran else "C"))
    return array


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
