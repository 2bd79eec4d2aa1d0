"""MNIST, and its IDX format (unsigned bytes only), gzipped or not, read strictly."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.descriptor import Descriptor, Files, Form, Source, tool_folders
from dptrain.data.npz import read_npz
from dptrain.errors import DataError
from dptrain.types import U8

FILES = (  #: name, dimensions
    ("train-images-idx3-ubyte", 3),
    ("train-labels-idx1-ubyte", 1),
    ("t10k-images-idx3-ubyte", 3),
    ("t10k-labels-idx1-ubyte", 1),
)
WANTED = "the four files *-ubyte or *-ubyte.gz"
DIGITS = tuple(str(digit) for digit in range(10))
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


def find_idx(name: str, classes: tuple[str, ...], folders: list[Path]) -> Files | None:
    """The four files in the first of these folders that holds one of them, unpacked or else .gz."""
    paths = next((found for folder in folders if (found := _paths(folder))), None)
    return None if paths is None else Files(name, classes, paths[0].parent, paths, lambda: read(name, paths))


def _paths(folder: Path) -> list[Path]:
    paths = [_spelled(folder / file) for file, _ in FILES]
    return paths if any(path.is_file() for path in paths) else []


def _spelled(path: Path) -> Path:
    """The file under one of its names: unpacked or .gz, with a dot instead of the last hyphen but one or not."""
    dotted = path.with_name(path.name.replace("-idx", ".idx"))
    names = [name for plain in (path, dotted) for name in (plain, plain.with_name(f"{plain.name}.gz"))]
    return next((name for name in names if name.is_file()), names[1])


def read(name: str, paths: list[Path]) -> tuple[Part, Part]:
    """Training and test part from the four files, in the order of FILES. Raises DataError."""
    arrays = [read_idx(path, dims) for path, (_, dims) in zip(paths, FILES, strict=True)]
    if np.array_equal(arrays[0], arrays[2]):
        raise DataError(f"{name}: {paths[0]} and {paths[2].name} hold the same images: one has the wrong name")
    train, test = (Part(arrays[i][..., np.newaxis], arrays[i + 1].astype(np.int64)) for i in (0, 2))
    return train, test


def sources(mirrors: tuple[str, ...], digests: tuple[str, str, str, str]) -> tuple[Source, ...]:
    """The four files to fetch; digests: SHA-256 of the unpacked content, in the order of FILES."""
    return tuple(
        Source(f"{file}.gz", f"sha256:{digest}", mirrors) for (file, _), digest in zip(FILES, digests, strict=True)
    )


def _find(home: Path, _: Form) -> Files | None:
    torchvision = [base / "MNIST" / "raw" for base in (home, home / "mnist", *tool_folders())]
    found = find_idx("mnist", DIGITS, [home / "mnist", *torchvision[:2], home, *torchvision[2:]])
    keras = next((path for folder in tool_folders() if (path := folder / "mnist.npz").is_file()), None)
    if found is not None or keras is None:
        return found
    return Files("mnist", DIGITS, keras.parent, [keras], lambda: _read_npz(keras))


def _read_npz(path: Path) -> tuple[Part, Part]:
    given, _ = read_npz(path)
    if given.test is None:
        raise DataError(f"{path} holds no x_test and y_test: get it again")
    return Part(*given.train[:2]), Part(*given.test[:2])


DATASET = Descriptor(
    name="mnist",
    about="handwritten digits",
    form=Form(28, 28, 1, 10),
    train=60_000,
    test=10_000,
    terms="CC BY-SA 3.0",
    find=_find,
    wanted=WANTED,
    folder="mnist",
    needed=sources(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)
