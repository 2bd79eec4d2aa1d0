"""Reads and writes the weights in a file of PyTorch, without PyTorch and without running anything in the file.

Both formats of `torch.save` are read: the old one (five pickles, then the raw storages) and the zip archive. The
unpickler allows what a state_dict consists of, and refuses everything else by name. The zip archive is written.

Source: torch/serialization.py `_legacy_load` and `_load`, torch/_utils.py `_rebuild_*`. Difference: tensors are
descriptions until the storages are there, and every size, stride and offset is checked against its storage first.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dptrain.errors import DataError
from dptrain.pickles import UNSOUND, refuse_large_memo
from dptrain.types import F32

T = TypeVar("T")
Arrays: TypeAlias = dict[str, NDArray[np.generic]]

_MAGIC = 0x1950A86A20F9469CFC6C  #: first pickle of the old format
_PROTOCOL = 1001  #: second pickle of the old format; PyTorch has never written another
_ZIP = b"PK\x03\x04"
_ROOT = "archive"  #: folder in the zip archive, as torch.save names it
_ABOUT = "dptrain.json"  #: entry of the archive that PyTorch does not read: what `write_torch` was told
_ALIGNMENT = 64  #: bytes; torch.load(mmap=True) maps the arrays where they lie
_ZIP_HEAD = 30  #: bytes of an entry's header, before its name

#: Storage class -> dtype of the bytes. NumPy has no bfloat16: its bits become the upper half of a float32.
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


class _Storage(NamedTuple):
    """A block of memory that the pickle names. A tuple: the pickle can neither make nor change one."""

    key: str
    kind: str  #: a key of _DTYPES
    numel: int

    @property
    def nbytes(self) -> int:
        """Length of the raw bytes."""
        return self.numel * np.dtype(_DTYPES[self.kind]).itemsize


class _Tensor(NamedTuple):
    """A view into a storage that is not read yet; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Allows the globals of a state_dict. It returns bound methods and strings, to which the pickle cannot write."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        """Raises DataError for a name that is not allowed; imports nothing."""
        if module == "torch" and name in _DTYPES:
            return name
        match (module, name):
            case ("collections", "OrderedDict"):
                return OrderedDict
            case ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"):
                return self._tensor
            case ("torch._utils", "_rebuild_parameter"):
                return self._parameter
        raise DataError(f"it asks for {module}.{name}, which no state_dict of plain tensors needs; nothing was run")

    def persistent_load(self, pid: object) -> _Storage:
        """("storage", class, key, location, elements[, view]) -> the storage of that key."""
        match pid:
            case ("storage", str(kind), str(key), str(), int(numel), *view) if view in ([], [None]):
                pass
            case _:
                raise DataError(f"it names a storage in a way that is not known: {str(pid)[:120]}")
        if kind not in _DTYPES or numel < 0:
            raise DataError(f"storage {key} holds {numel} elements of {kind}; known are {', '.join(_DTYPES)}")
        storage = _Storage(key, kind, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise DataError(f"storage {key} is described twice, differently: {self.storages[key]} and {storage}")
        return storage

    def _tensor(self, storage: object, offset: object, size: object, stride: object, *_: object) -> _Tensor:
        """Checks types, and that all elements are inside the storage. The further arguments serve autograd only."""
        if not isinstance(storage, _Storage):
            raise DataError(f"a tensor has a {type(storage).__name__} where its storage should be")
        start, shape, strides = _counts("offset", (offset,))[0], _counts("size", size), _counts("stride", stride)
        if len(shape) != len(strides):
            raise DataError(f"a tensor in storage {storage.key} has size {shape}, but stride {strides}")
        last = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        elements: int = prod(shape)
        if elements > storage.numel or (elements and last >= storage.numel):
            raise DataError(
                f"a tensor of size {shape}, stride {strides}, offset {start} does not fit into "
                f"the {storage.numel} elements of storage {storage.key}"
            )
        return _Tensor(storage, start, shape, strides)

    def _parameter(self, tensor: object, *_: object) -> object:
        """A parameter is its tensor."""
        return tensor


def _unpickle(file: BinaryIO, size: int) -> tuple[object, dict[str, _Storage]]:
    """(object, storages) of the pickle that starts here; moves `file` behind it. `size`: of the whole file."""
    refuse_large_memo(file, size)
    unpickler = _Unpickler(file)
    return unpickler.load(), unpickler.storages


def _counts(what: str, values: object) -> tuple[int, ...]:
    """A tuple (or list) of non-negative ints. Raises DataError for other values."""
    if isinstance(values, tuple | list) and all(type(v) is int and v >= 0 for v in values):
        return tuple(values)
    raise DataError(f"a tensor has {what} {str(values)[:120]}; counts of elements are needed")


def _array(tensor: _Tensor, raw: bytes) -> NDArray[np.generic]:
    """The elements of `tensor`, copied from the bytes of its storage, C order. `_tensor` has checked them."""
    flat = np.frombuffer(raw, dtype=_DTYPES[tensor.storage.kind])
    if not prod(tensor.shape):
        out = np.empty(tensor.shape, flat.dtype)
    else:
        steps = tuple(step * flat.itemsize for step in tensor.strides)
        out = np.array(np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps), order="C")
    if tensor.storage.kind == "BFloat16Storage":
        return (out.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return out


def _read_legacy(file: BinaryIO, size: int) -> tuple[object, dict[str, bytes]]:
    """(object, storage key -> bytes) of the format before PyTorch 1.6."""
    magic, protocol, system = (_unpickle(file, size)[0] for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL:
        raise DataError("it starts like a pickle, but not like one of torch.save")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise DataError("it was written on a big-endian machine; save it again on a little-endian one")
    value, storages = _unpickle(file, size)
    keys, _ = _unpickle(file, size)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise DataError("its list of storages is not that of its tensors")
    raw = {}
    for key in keys:
        storage = storages[key]
        if size - file.tell() < 8 + storage.nbytes:
            raise DataError(f"it ends before the {storage.nbytes} bytes of storage {key}: the file is cut off")
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != storage.numel:
            raise DataError(f"storage {key} has {numel} elements, but its tensors expect {storage.numel}")
        raw[key] = file.read(storage.nbytes)
    return value, raw


def _read_zip(file: BinaryIO, size: int) -> tuple[object, dict[str, bytes]]:
    """(object, storage key -> bytes) of the format since PyTorch 1.6: NAME/data.pkl, NAME/byteorder, NAME/data/KEY."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        # Uncompressed entries that are together no larger than the file: a small file cannot fill the memory.
        if any(i.compress_type != zipfile.ZIP_STORED for i in entries.values()):
            raise DataError("it has compressed entries; torch.save writes none")
        if sum(info.file_size for info in entries.values()) > size:
            raise DataError("its entries overlap")
        roots = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise DataError(f"it is a zip archive with {len(roots)} entries data.pkl; torch.save writes one")
        order = f"{roots[0]}/byteorder"
        if order in entries and archive.read(order) != b"little":
            raise DataError("it was written on a big-endian machine; save it again on a little-endian one")
        with archive.open(f"{roots[0]}/data.pkl") as pickled:
            value, storages = _unpickle(cast(BinaryIO, pickled), size)
        raw = {}
        for key, storage in storages.items():
            info = entries.get(f"{roots[0]}/data/{key}")
            if info is None or info.file_size != storage.nbytes:
                found = "nothing" if info is None else f"{info.file_size} bytes"
                raise DataError(f"storage {key} should have {storage.nbytes} bytes, found {found}")
            raw[key] = archive.read(info)
    return value, raw


def _state_dict(value: object) -> dict[str, _Tensor]:
    """The named tensors of the object or of its "state_dict", without DataParallel's prefix."""
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict) or not value:
        raise DataError(f"it holds a {type(value).__name__}; a state_dict, or a dict with one, is needed")
    if stranger := next((k for k, v in value.items() if not isinstance(k, str) or not isinstance(v, _Tensor)), None):
        held = type(value[stranger]).__name__
        raise DataError(f"entry {str(stranger)[:60]!r} holds a {held}; a state_dict has names and tensors only")
    return plain(value)


def plain(named: Mapping[str, T]) -> dict[str, T]:
    """Without DataParallel's prefix "module.", and without the counters "num_batches_tracked"."""
    prefix = "module." if all(name.startswith("module.") for name in named) else ""
    short = {name.removeprefix(prefix): value for name, value in named.items()}
    return {name: value for name, value in short.items() if not name.endswith("num_batches_tracked")}


def read_torch(path: str | Path) -> Arrays:
    """The state_dict in `path` (.th, .pt, .pth) as new arrays, in the order and types of the file.

    Unwraps {"state_dict": ...}, removes DataParallel's "module." and leaves out "num_batches_tracked"; bfloat16 becomes
    float32, exactly. Raises DataError, in one line, for a file that is damaged or names more than plain tensors.
    """
    try:
        # In memory: reading a damaged length from a file on disk would allocate that many bytes first.
        with io.BytesIO(Path(path).read_bytes()) as file:
            size = file.seek(0, 2)
            file.seek(0)
            magic = file.read(4)
            file.seek(0)
            if magic != _ZIP and magic[:1] != pickle.PROTO:
                raise DataError(f"it starts with {magic!r}, neither a zip archive nor a pickle")  # noqa: TRY301
            value, raw = (_read_zip if magic == _ZIP else _read_legacy)(file, size)
        tensors = _state_dict(value)
        return {name: _array(tensor, raw[tensor.storage.key]) for name, tensor in tensors.items()}
    except DataError as error:
        raise DataError(f"cannot read {path} as PyTorch weights: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, *UNSOUND) as error:
        what = f"it is damaged or of another kind ({type(error).__name__}: {str(error)[:200]})"
        raise DataError(f"cannot read {path} as PyTorch weights: {what}") from error


def about_torch(path: Path) -> str:
    """What `write_torch` was told about the weights; "" in a file of another program.

    Call it after `read_torch`, which refuses an archive whose entries could fill the memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{_ROOT}/{_ABOUT}").decode()
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile):
        return ""


# --- writing


def write_torch(arrays: Mapping[str, F32], about: str = "") -> bytes:
    """A file with the state_dict of these arrays, which `torch.load(FILE, weights_only=True)` reads.

    Entries as torch.save writes them: data.pkl, byteorder, data/0, data/1, ..., version. `about` is one more entry,
    which PyTorch passes over. The same arrays give the same bytes.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [
            ("data.pkl", _pickled(arrays)),
            ("byteorder", b"little"),
            *(
                (f"data/{key}", np.ascontiguousarray(array, "<f4").tobytes())
                for key, array in enumerate(arrays.values())
            ),
            ("version", b"3\n"),
            *([(_ABOUT, about.encode())] if about else []),
        ]:
            entry = zipfile.ZipInfo(f"{_ROOT}/{name}", (1980, 1, 1, 0, 0, 0))
            begin = out.tell() + _ZIP_HEAD + len(entry.filename) + 4  # 4: head of the field that fills the gap
            gap = -begin % _ALIGNMENT
            entry.extra = b"FB" + struct.pack("<H", gap) + b"Z" * gap
            archive.writestr(entry, content)
    return out.getvalue()


def _pickled(arrays: Mapping[str, F32]) -> bytes:
    """OrderedDict of tensors, written opcode by opcode: the names in it exist only where PyTorch does."""
    empty = b"ccollections\nOrderedDict\n)R"
    out = [b"\x80\x02", empty, b"("]
    for key, (name, array) in enumerate(arrays.items()):
        strides = [prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
        storage = (_text("storage"), b"ctorch\nFloatStorage\n", _text(str(key)), _text("cpu"), _number(array.size))
        parts = (
            _tuple(*storage) + b"Q",
            _number(0),
            _tuple(*map(_number, array.shape)),
            _tuple(*map(_number, strides)),
        )
        false = b"\x89"  # no gradient
        out += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n", _tuple(*parts, false, empty), b"R"]
    return b"".join([*out, b"u."])


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"
