"""Weights of PyFunt: reads its model.npy without running anything in it, and translates them to a network of dptrain.

PyFunt's ResNet (v0.1b) is the one of dptrain with block "relu-before" and shortcut "avgpool". Its stride-2 convolutions
pad above and on the left only; for even sizes these are the same windows. Convolutions are numbered 1 ... 6n+1, linear
layers from 6n+3 on (6n+2 is the pooling).

Its ReLU had the wrong sign: min(v, 0) = -relu(-v). Such a network equals one with a correct ReLU whose activations have
the opposite sign. To translate it, scale and shift of the first BatchNorm change their sign. After it, activations of
opposite sign give convolutions and normalised values of opposite sign, so only the shift of each BatchNorm changes its
sign. The weights of the last linear layer change theirs, so that the scores stay. The bias of a convolution (b) has no
effect: BatchNorm subtracts it again.
"""

from __future__ import annotations

import io
import pickle
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from dptrain.errors import DataError
from dptrain.pickles import UNSOUND, Foreign, load_admitted
from dptrain.settings import ModelConfig
from dptrain.types import Floats

#: dtype name in the pickle -> bytes per element. Weights have no other type.
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


#: The names in a pickled dictionary of arrays, for NumPy before and since 2.0 -> the class that stands in.
_ADMITTED: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


def read_pyfunt(path: Path) -> dict[str, Floats]:
    """The weights in `path` by PyFunt's names, in the order and types of the file. Raises DataError naming the file."""
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
    except (*UNSOUND, TokenError) as error:  # NumPy parses the header as Python
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
    """The content of the 0-d object array in the .npy file."""
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


class PyfuntNetwork(NamedTuple):
    """The weights for a network built from `config`. PyFunt never saved the running statistics of BatchNorm."""

    config: ModelConfig
    classes: int
    tensors: dict[str, Floats]  #: by dptrain's names


def our_network(found: dict[str, Floats], path: Path, *, upside_down: bool = True) -> PyfuntNetwork:
    """found: from `read_pyfunt`. upside_down: trained with the wrong ReLU. Raises DataError naming `path`."""
    convolutions = sum(1 for name, array in found.items() if name.startswith("W") and array.ndim == 4)
    n, rest = divmod(convolutions - 1, 6)
    numbers = sorted(int(name[1:]) for name in found if name[:1] == "W" and name[1:].isdecimal())
    linear = numbers[convolutions:]
    if (
        n < 1
        or rest
        or not linear
        or numbers != [*range(1, convolutions + 1), *range(convolutions + 2, linear[-1] + 1)]
    ):
        raise DataError(
            f"{path} has {convolutions} convolutions and {len(numbers) - convolutions} linear layers; PyFunt's ResNet "
            "has 6n+1, and one or more"
        )
    sign = -1.0 if upside_down else 1.0
    out: dict[str, Floats] = {}
    for number, name in enumerate(_names(n), 1):
        layer, norm = name
        out[f"{layer}.weight"] = _get(found, path, f"W{number}")
        out[f"{norm}.weight"] = _get(found, path, f"gamma{number}") * (sign if number == 1 else 1.0)
        out[f"{norm}.bias"] = sign * _get(found, path, f"beta{number}")
    hidden = []
    for at, number in enumerate(linear[:-1]):
        weights = _get(found, path, f"W{number}").T
        hidden.append(weights.shape[0])
        out[f"hidden.{at}.weight"] = weights
        out[f"hidden.{at}.bias"] = sign * _get(found, path, f"b{number}")
        out[f"hidden.{at}.bn.weight"] = _get(found, path, f"gamma{number}")
        out[f"hidden.{at}.bn.bias"] = sign * _get(found, path, f"beta{number}")
    out["linear.weight"] = sign * _get(found, path, f"W{linear[-1]}").T
    out["linear.bias"] = _get(found, path, f"b{linear[-1]}")
    filters = out["conv1.weight"].shape[0]
    config = ModelConfig(n=n, filters=filters, hidden=tuple(hidden), block="relu-before", shortcut="avgpool")
    return PyfuntNetwork(config, len(out["linear.bias"]), out)


def _names(n: int) -> list[tuple[str, str]]:
    """Names of each convolution and its BatchNorm, in PyFunt's order."""
    blocks = (f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(n))
    return [("conv1", "bn1"), *((f"{b}.conv{k}", f"{b}.bn{k}") for b in blocks for k in (1, 2))]


def _get(found: dict[str, Floats], path: Path, name: str) -> Floats:
    if name not in found:
        raise DataError(f"{path} has no {name}, which PyFunt's ResNet of {len(found)} arrays would have")
    return found[name].astype(np.float32)
