"""Messages to frames and back. Only this file knows how a message lies on the wire; it opens no socket.

Frame 0 is a checksum (8 bytes, XXH3) over all that follows it, then a msgpack map: "type" (the name of the class), all
fields that are not arrays, and "shape" for images. Each array follows as one raw frame, C order, little endian, in the
order of the fields. The fields of a ShardResult lie there as if they were the message's own. The forms are read off the
dataclasses: a new message of strings, integers and floats needs no line here.

The checksum finds damage: without it, a gradient with one flipped bit would be a valid message with other bits. It does
not stop an attacker; encryption (CURVE) does. `decode` raises RemoteProtocolError for anything that is not exactly such
a message of exactly the sizes in `Limits`, and never allocates more than the size of its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from math import isfinite, prod
from typing import Any, TypeAlias, get_args, get_type_hints

import msgpack
import numpy as np
import xxhash
from numpy.typing import NDArray

from dptrain.cluster.messages import Message
from dptrain.errors import LocalProtocolError, RemoteProtocolError
from dptrain.model import ShardResult, ShardScore
from dptrain.types import F32, U8

SUM_BYTES = 8


def checksum(parts: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """SUM_BYTES bytes (XXH3) over all parts, one after the other."""
    state = xxhash.xxh3_64()
    for part in parts:
        state.update(part)
    return state.digest()


def params_digest(params: F32) -> str:
    """16 hex digits (XXH3) over parameters: the `digest` of Params, and of every message about work done with them."""
    return xxhash.xxh3_64_hexdigest(params.data)


Frame: TypeAlias = bytes | bytearray | memoryview

HEADER_BYTES = 4096  #: upper limit of frame 0; the largest is Welcome's, with about 1 KiB of configuration
IMAGE_RANK = 4  #: images are (n, h, w, c)
_INT_LIMIT = 2**63  #: no field is ever negative
_TEXT_LIMIT = 256  #: characters of a string ...
_TEXT_LIMITS = {"config": 3072, "reason": 1024}  #: ... unless the field says otherwise
_ANY_FLOAT = {"loss"}  #: may be NaN or infinite, as in a diverged network; every other float is finite and >= 0
_VECTORS = {"gradient": "params", "params": "params", "statistics": "buffers", "buffers": "buffers"}


@dataclass(frozen=True, slots=True)
class Limits:
    """The sizes that one run fixes; frames of any other size are refused.

    A worker does not know its network before Prepared: it starts with Limits(0, 0, 0), which refuses all arrays.
    """

    params: int  #: elements of `gradient` and `params`
    buffers: int  #: elements of `statistics` and `buffers`
    image_bytes: int  #: at most so many bytes of `images`


@dataclass(frozen=True, slots=True)
class _Form:
    """How the messages of one class lie on the wire."""

    cls: Callable[..., Message]
    scalars: dict[str, type]  #: field -> str, int or float
    arrays: dict[str, np.dtype[Any]]  #: field -> dtype, in the order of the frames
    result: (
        type[ShardResult | ShardScore] | None
    )  #: what it carries: its fields lie on the wire as if the message's own

    @property
    def keys(self) -> set[str]:
        """The keys of the header."""
        extra = {"type", "shape"} if "images" in self.arrays else {"type"}
        return extra | set(self.scalars)

    def values(self, message: Message) -> dict[str, Any]:
        """Field -> value, those of the result included."""
        values = {item.name: getattr(message, item.name) for item in fields(message)}
        if self.result:
            result = values.pop("result")
            values |= {item.name: getattr(result, item.name) for item in fields(self.result)}
        return values

    def message(self, values: dict[str, Any]) -> Message:
        """The message with these values; the inverse of `values`."""
        if self.result:
            values = dict(values)
            values["result"] = self.result(**{item.name: values.pop(item.name) for item in fields(self.result)})
        return self.cls(**values)


def _form(cls: Any) -> _Form:  # noqa: ANN401  # a dataclass of the Message union; typing cannot say "one of these"
    hints = get_type_hints(cls)
    scalars: dict[str, type] = {}
    arrays: dict[str, np.dtype[Any]] = {}
    result = next((kind for kind in (ShardResult, ShardScore) if hints.get("result") is kind), None)
    if result:
        del hints["result"]
        hints |= get_type_hints(result)
    for name, hint in hints.items():
        if hint in (str, int, float):
            scalars[name] = hint
        elif hint == F32 and name in _VECTORS:
            arrays[name] = np.dtype("<f4")
        elif hint == U8 and name == "images":
            arrays[name] = np.dtype("u1")
        else:
            raise TypeError(f"{cls.__name__}.{name}: the codec does not know how to send {hint}")
    return _Form(cls, scalars, arrays, result)


FORMS = {cls.__name__: _form(cls) for cls in get_args(Message)}


def encode(message: Message) -> list[bytes | memoryview]:
    """The frames of a message: header, then the arrays themselves as byte views (no copy).

    The caller must not change the arrays before the frames are sent. Raises LocalProtocolError where a field does not
    have exactly the declared type: such a message is a bug in dptrain.
    """
    name = type(message).__name__
    form = FORMS[name]
    values = form.values(message)
    header: dict[str, object] = {"type": name}
    for key, kind in form.scalars.items():
        header[key] = value = values[key]
        if fault := _scalar_fault(key, kind, value):
            raise LocalProtocolError(f"{name}.{key} {fault}")
    frames: list[bytes | memoryview] = []
    for key, dtype in form.arrays.items():
        array = values[key]
        _check_array(f"{name}.{key}", array, dtype, IMAGE_RANK if key == "images" else 1)
        if key == "images":
            if not array.size:
                raise LocalProtocolError(f"{name}.{key} of shape {array.shape} is empty: there is nothing to send")
            header["shape"] = list(array.shape)
        frames.append(memoryview(array).cast("B") if array.size else b"")
    packed: bytes = msgpack.packb(header)
    size = SUM_BYTES + len(packed)
    if size > HEADER_BYTES:
        raise LocalProtocolError(f"{name}: a header of {size} bytes; at most {HEADER_BYTES} can be sent")
    return [checksum((packed, *frames)) + packed, *frames]


def _check_array(where: str, array: object, dtype: np.dtype[Any], rank: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != rank:
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise LocalProtocolError(f"{where} is {got}; the wire carries {dtype} with {rank} dimension(s)")
    # ZeroMQ would send a transposed array's memory as it lies: the peer would get scrambled values.
    if not array.flags.c_contiguous:
        raise LocalProtocolError(f"{where} of shape {array.shape} is not C-contiguous; send a copy")


def decode(frames: Sequence[Frame], limits: Limits) -> Message:
    """The message in these frames. Raises RemoteProtocolError (one line) for anything else.

    Arrays are views of the frames: no copy, as writable and as aligned as the frame is. The frames must not be reused
    while the message lives. Numba compiles a second signature for read-only arrays, so receive into writable buffers.
    """
    header = _header(frames)
    name = header["type"]
    form = FORMS.get(name) if isinstance(name, str) else None
    if form is None:
        raise RemoteProtocolError(f"unknown message type {_short(name)}")
    if header.keys() != form.keys:
        raise RemoteProtocolError(f"{name}: keys {_short(sorted(header))}; wanted {sorted(form.keys)}")
    if len(frames) != 1 + len(form.arrays):
        raise RemoteProtocolError(f"{name}: {len(frames)} frames; wanted {1 + len(form.arrays)}")
    values: dict[str, object] = {}
    for key, kind in form.scalars.items():
        values[key] = header[key]
        if fault := _scalar_fault(key, kind, header[key]):
            raise RemoteProtocolError(f"{name}.{key} {fault}")
    for (key, dtype), frame in zip(form.arrays.items(), frames[1:], strict=True):
        where = f"{name}.{key}"
        if key == "images":
            values[key] = _images(where, frame, header["shape"], limits)
        else:
            values[key] = _vector(where, frame, dtype, getattr(limits, _VECTORS[key]))
    if checksum((memoryview(frames[0])[SUM_BYTES:], *frames[1:])) != bytes(frames[0][:SUM_BYTES]):
        raise RemoteProtocolError(f"{name}: damaged on the way (the checksum is another one)")
    return form.message(values)


def _header(frames: Sequence[Frame]) -> dict[str, Any]:
    if not frames:
        raise RemoteProtocolError("a message without frames")
    size = memoryview(frames[0]).nbytes
    if size > HEADER_BYTES:
        raise RemoteProtocolError(f"a header of {size} bytes; at most {HEADER_BYTES} are allowed")
    first = bytes(frames[0])
    try:
        header = msgpack.unpackb(
            first[SUM_BYTES:],
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_unique,
            max_str_len=HEADER_BYTES,
            max_bin_len=0,
            max_ext_len=0,
            max_array_len=IMAGE_RANK,
            max_map_len=32,
        )
    except (ValueError, msgpack.UnpackException) as error:  # all of msgpack's refusals, and UnicodeDecodeError
        raise RemoteProtocolError(f"the header is not valid: {_short(str(error) or type(error).__name__)}") from None
    if not isinstance(header, dict) or "type" not in header:
        raise RemoteProtocolError(f"the header is {_short(header)}; wanted a map with a type")
    return header


def _unique(pairs: list[tuple[object, object]]) -> dict[object, object]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice in a map")
    return out


def _scalar_fault(key: str, kind: type, value: object) -> str:
    """What is wrong with a field's value; "" for nothing. Exact types: True is no int, numpy.float64 is no float."""
    if type(value) is not kind:
        return f"is {_short(value)} ({type(value).__name__}); wanted {kind.__name__}"
    if isinstance(value, int) and not 0 <= value < _INT_LIMIT:
        return f"is {value}; allowed are 0 to 2**63 - 1"
    if isinstance(value, float) and key not in _ANY_FLOAT and not (isfinite(value) and value >= 0):
        return f"is {value}; wanted a finite number >= 0"
    if isinstance(value, str):
        limit = _TEXT_LIMITS.get(key, _TEXT_LIMIT)
        if len(value) > limit:
            return f"has {len(value)} characters; at most {limit} are allowed"
        if not value.isprintable():  # it ends in a log: no line breaks, no terminal escapes
            return f"holds characters that cannot be printed: {_short(value)}"
    return ""


def _vector(where: str, frame: Frame, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    view = memoryview(frame)
    if not view.c_contiguous or view.nbytes != size * dtype.itemsize:
        raise RemoteProtocolError(f"{where} has {view.nbytes} bytes; wanted {size * dtype.itemsize}")
    return np.frombuffer(view, dtype) if size else np.zeros(0, dtype)


def _images(where: str, frame: Frame, shape: object, limits: Limits) -> U8:
    if not isinstance(shape, list) or len(shape) != IMAGE_RANK or not all(type(n) is int and n > 0 for n in shape):
        raise RemoteProtocolError(f"{where} has shape {_short(shape)}; wanted {IMAGE_RANK} sizes >= 1")
    view = memoryview(frame)
    if not view.c_contiguous or view.nbytes != prod(shape) or view.nbytes > limits.image_bytes:
        raise RemoteProtocolError(
            f"{where} has {view.nbytes} bytes for shape {shape}; at most {limits.image_bytes} are allowed"
        )
    return np.frombuffer(view, np.uint8).reshape(shape)


def _short(value: object) -> str:
    """A repr of at most 80 characters, for one line: the value comes from a peer."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
