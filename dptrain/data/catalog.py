"""Which data sets are here and where, told without decoding one. How they are found: catalog.py."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.cache import cached, load_or_decode
from dptrain.data.dataset import Dataset, Part
from dptrain.data.datasets import (
    cifar10,
    cifar100,
    fashion_mini,
    folder,
    gtsrb,
    mnist_csv,
    sfddd,
    shapes32,
    tiny_imagenet,
)
from dptrain.data.datasets.idx import read_idx
from dptrain.data.imagefile import images_in
from dptrain.data.sources import KNOWN, by_hand
from dptrain.errors import DataError, MissingDataError, UsageError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
FOLDER = "folder"  #: anybody's own pictures: folder:PATH or folder:PATH:HxW or folder:PATH:HxWx1
_IDX_FILES = (  # name, dimensions
    ("train-images-idx3-ubyte", 3),
    ("train-labels-idx1-ubyte", 1),
    ("t10k-images-idx3-ubyte", 3),
    ("t10k-labels-idx1-ubyte", 1),
)
_DIGITS = tuple(str(digit) for digit in range(10))


class Files(NamedTuple):
    """The files of a data set: found, not read."""

    name: str  #: with the size, where that can be chosen
    classes: tuple[str, ...]
    folder: Path
    paths: list[Path]  #: whose sizes and times tell whether the set has changed; all exist
    decode: Callable[[], tuple[Part, Part]]


def data_home(data_dir: str) -> Path:
    """Where data sets lie: `data_dir`, else $DPTRAIN_DATA, else $XDG_DATA_HOME/dptrain, else ~/.local/share/dptrain."""
    named = data_dir or os.environ.get("DPTRAIN_DATA", "")
    if named:
        return Path(named).expanduser()
    share = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(share).expanduser() / "dptrain"


def open_dataset(name: str, data_dir: str = "") -> Dataset:
    """Opens a data set; files are decoded once into <data home>/cache and mapped from there.

    A name may be followed by an option: cifar100:coarse, sfddd:96x128, gtsrb:48x48, folder:PATH:64x64.
    Raises UsageError for an unknown name or option, MissingDataError or DataError where files are missing or not what
    they should be.
    """
    base, _, option = name.partition(":")
    if base in _EMBEDDED and not option:
        return _EMBEDDED[base]()
    found = find_files(name, data_dir)
    return load_or_decode(found.name, found.classes, found.paths, cache_home(data_dir), found.decode)


def cache_home(data_dir: str) -> Path:
    """Where decoded data sets are kept."""
    return data_home(data_dir) / "cache"


def find_files(name: str, data_dir: str = "") -> Files:
    """Of a data set that has files. Reads none of them; raises as `open_dataset` does."""
    base, _, option = name.partition(":")
    if base == FOLDER:
        return _own_folder(data_home(data_dir), option)
    if base not in NAMES:
        raise UsageError(f"there is no data set {name!r}: {_instead(name, base)}")
    if option and base not in _WITH_OPTION:
        raise UsageError(f"data set {name!r}: {base} has no option {option!r}; only {', '.join(_WITH_OPTION)} have one")
    return _FINDERS[base](data_home(data_dir), option)


def _instead(name: str, base: str) -> str:
    if "/" in name or _is_folder(Path(base)):
        path = name if name.startswith(("/", "~", "./", "../")) else f"./{name}"
        return f"did you mean {FOLDER}:{path}, a folder of your own?"
    close = difflib.get_close_matches(base, NAMES, n=1)
    return f"{f'did you mean {close[0]!r}? ' if close else ''}There are {', '.join(NAMES)}, {FOLDER}:PATH"


def _size(name: str, text: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """48x64 -> (48, 64); as many numbers as the default has, or one less."""
    if not text:
        return default
    if not re.fullmatch(r"[1-9][0-9]{0,3}(x[1-9][0-9]{0,3}){1,2}", text) or text.count("x") >= len(default):
        raise UsageError(f"data set {name}:{text}: what follows must be HEIGHTxWIDTH in pixels, such as {name}:48x64")
    given = tuple(int(part) for part in text.split("x"))
    if max(given[:2]) > 1024 or given[2:] not in ((), (1,), (3,)):
        raise UsageError(f"data set {name}:{text}: sides go up to 1024 pixels, channels are 1 or 3")
    return given + default[len(given) :]


def _missing(name: str, what: str, place: Path) -> MissingDataError:
    fetched = f"run `dptrain data get {name}`, or put {what} into {place}"
    first = by_hand(name)[0] if KNOWN[name].by_hand else fetched
    return MissingDataError(f"{name} is not here: {first}, or name another folder with --data-dir")


def _cifar10(home: Path) -> Files:
    folders = [home / cifar10.BINARY, home / cifar10.PYTHON, home]
    paths = next((found for f in folders if (found := cifar10.files(f))), None)
    if paths is None:
        raise _missing("cifar10", f"{cifar10.PYTHON} or {cifar10.BINARY}", home)
    _all_there("cifar10", paths)
    return Files("cifar10", cifar10.CLASSES, paths[0].parent, paths, lambda: cifar10.read(paths))


def _cifar100(home: Path, option: str) -> Files:
    if option not in ("", "fine", "coarse"):
        raise UsageError(f"data set cifar100:{option}: write cifar100 (100 classes) or cifar100:coarse (20)")
    classes = cifar100.COARSE if option == "coarse" else cifar100.FINE
    folders = [home / cifar100.BINARY, home / cifar100.PYTHON]
    paths = next((found for f in folders if (found := cifar100.files(f))), None)
    if paths is None:
        raise _missing("cifar100", f"{cifar100.PYTHON} or {cifar100.BINARY}", home)
    _all_there("cifar100", paths)
    name = "cifar100-coarse" if option == "coarse" else "cifar100"
    return Files(name, classes, paths[0].parent, paths, lambda: cifar100.read(paths, classes))


def _idx(name: str, classes: tuple[str, ...], folders: list[Path], more: str = "") -> Files:
    paths = next((found for f in folders if (found := _idx_paths(f))), None)
    if paths is None:
        raise MissingDataError(f"{_missing(name, 'the four files *-ubyte or *-ubyte.gz', folders[0])}{more}")
    _all_there(name, paths)

    def decode() -> tuple[Part, Part]:
        arrays = [read_idx(path, dims) for path, (_, dims) in zip(paths, _IDX_FILES, strict=True)]
        if np.array_equal(arrays[0], arrays[2]):
            raise DataError(f"{name}: {paths[0]} and {paths[2].name} hold the same images: one has the wrong name")
        parts = [Part(arrays[i][..., np.newaxis], arrays[i + 1].astype(np.int64)) for i in (0, 2)]
        return parts[0], parts[1]

    return Files(name, classes, paths[0].parent, paths, decode)


def _idx_paths(directory: Path) -> list[Path]:
    """The four files of a folder, unpacked or else .gz; none where it holds not one. They may not all exist."""
    plain = [directory / file for file, _ in _IDX_FILES]
    paths = [path if path.is_file() else path.with_name(f"{path.name}.gz") for path in plain]
    return paths if any(path.is_file() for path in paths) else []


def _all_there(name: str, paths: list[Path]) -> None:
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{name}: {', '.join(missing)} missing in {paths[0].parent}; the set is incomplete")


def _mnist(home: Path) -> Files:
    return _idx("mnist", _DIGITS, [home / "mnist", home])


def _fashion_mnist(home: Path) -> Files:
    folders = [home / "fashion-mnist", home, DEBIAN_FASHION_MNIST]
    return _idx("fashion-mnist", fashion_mini.CLASSES, folders, " (Debian: apt install dataset-fashion-mnist)")


def _mnist_kaggle(home: Path) -> Files:
    folders = [home / name for name in mnist_csv.FOLDERS]
    path = next((f / mnist_csv.FILE for f in folders if (f / mnist_csv.FILE).is_file()), None)
    if path is None:
        raise _missing("mnist-kaggle", mnist_csv.FILE, folders[0])
    return Files("mnist-kaggle", _DIGITS, path.parent, [path], lambda: mnist_csv.read(path))


def _sfddd(home: Path, option: str) -> Files:
    height, width = _size("sfddd", option, sfddd.SIZE)
    found = sfddd.find(home / "sfddd")
    if found is None:
        raise _missing("sfddd", "imgs/train/c0 ... c9", home / "sfddd")
    name = f"sfddd-{height}x{width}"
    sources = found.photographs + ([found.table] if found.table else [])
    return Files(name, sfddd.CLASSES, home / "sfddd", sources, lambda: sfddd.read(name, found, (height, width)))


def _tiny_imagenet(home: Path) -> Files:
    root = home / tiny_imagenet.FOLDER
    found = tiny_imagenet.find(root)
    if found is None:
        raise _missing("tiny-imagenet", tiny_imagenet.FOLDER, home)
    lost = next((path for path in found.paths if not path.is_file()), None)
    if lost is not None:
        raise DataError(f"tiny-imagenet: {lost} missing; the set is incomplete")
    return Files("tiny-imagenet", found.classes, root, found.paths, lambda: tiny_imagenet.read(found))


def _gtsrb(home: Path, option: str) -> Files:
    height, width = _size("gtsrb", option, gtsrb.SIZE)
    found = gtsrb.find(home / "gtsrb")
    if found is None:
        raise _missing("gtsrb", "GTSRB", home / "gtsrb")
    _all_there("gtsrb", found.paths)
    name = f"gtsrb-{height}x{width}"
    return Files(name, gtsrb.CLASSES, home / "gtsrb", found.paths, lambda: gtsrb.read(found, (height, width)))


def _own_folder(home: Path, option: str) -> Files:
    """folder:PATH[:HxW[xC]]; PATH is below the data home, or begins with / or ~ or a dot."""
    path, size = path_and_size(option)
    if not path:
        raise UsageError("data set folder: write folder:PATH or folder:PATH:HEIGHTxWIDTH")
    height, width, channels = _size(f"{FOLDER}:{path}", size, (32, 32, 3))
    root = _place(home, path)
    if not _is_folder(root):
        shorter, _, rest = path.rpartition(":")
        if shorter and _is_folder(_place(home, shorter)):
            _size(f"{FOLDER}:{shorter}", rest, (32, 32, 3))  # raises: it is none
        here = f"; the one in this directory is {FOLDER}:./{path}" if root != Path(path) and Path(path).is_dir() else ""
        archive = "" if root == Path(path).expanduser() else f", or `dptrain data add {FOLDER}:{path} ARCHIVE`"
        raise DataError(f"{FOLDER}:{path}: there is no folder {root}{here}; make one folder a class in it{archive}")
    found = folder.listing(root)
    name = f"{root.resolve().name}-{height}x{width}x{channels}"
    shape = (height, width, channels)
    return Files(name, found.classes, root, found.paths, lambda: folder.read(name, found, shape))


def path_and_size(option: str) -> tuple[str, str]:
    """What stands behind folder: -> PATH, and what may be HxW or HxWxC. A colon in PATH is one of its characters."""
    path, colon, size = option.rpartition(":")
    return (path, size) if colon and not size.strip("0123456789x") else (option, "")


def _place(home: Path, path: str) -> Path:
    if not path.startswith(("/", "~", "./", "../")):
        return home / path
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{FOLDER}:{path}: there is no such user; a folder of that name is {FOLDER}:./{path}"
        ) from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # a name that is too long, a folder that is somebody else's
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


#: What comes with dptrain: no files, nothing to decode.
_EMBEDDED: dict[str, Callable[[], Dataset]] = {fashion_mini.NAME: fashion_mini.load, shapes32.NAME: shapes32.load}
#: Data home and option -> files.
_FINDERS: dict[str, Callable[[Path, str], Files]] = {
    "cifar10": lambda home, _: _cifar10(home),
    "cifar100": _cifar100,
    "mnist": lambda home, _: _mnist(home),
    "mnist-kaggle": lambda home, _: _mnist_kaggle(home),
    "fashion-mnist": lambda home, _: _fashion_mnist(home),
    "sfddd": _sfddd,
    "tiny-imagenet": lambda home, _: _tiny_imagenet(home),
    "gtsrb": _gtsrb,
}
_WITH_OPTION = ("cifar100", "sfddd", "gtsrb")
EMBEDDED = tuple(_EMBEDDED)
NAMES = (*EMBEDDED, *_FINDERS)


_TAKEN = {known.folder for known in KNOWN.values()} | {tiny_imagenet.FOLDER, *mnist_csv.FOLDERS}


def standing(name: str, data_dir: str) -> str:
    """Where the set lies, and its figures where they are known. Raises MissingDataError, DataError."""
    if name in EMBEDDED:
        dataset, place = open_dataset(name, data_dir), ""
    else:
        found = find_files(name, data_dir)
        place = f"in {found.folder}"
        opened = cached(found.name, found.classes, found.paths, cache_home(data_dir))
        if opened is None:
            return f"{place}, not opened yet"
        dataset = opened
    height, width, channels = dataset.image_shape
    counts = f"{dataset.train_labels.size:,} + {dataset.test_labels.size:,}"
    figures = f"{counts} of {height}x{width}x{channels}, {len(dataset.classes)} classes, {dataset.sha256[:12]}"
    return f"{figures}, {place}" if place else figures


def own_folders(home: Path) -> dict[str, str]:
    """The data sets folder:NAME of a data home, each with what can be told at a glance."""
    found = {}
    for root in sorted(home.iterdir()) if home.is_dir() else ():
        if root.name in _TAKEN or root.name.startswith(".") or not root.is_dir():
            continue
        try:
            train, classes = folder.classes_in(root)
            if len(classes) > 1 and images_in(train / classes[0]):
                found[f"{FOLDER}:{root.name}"] = f"{len(classes)} classes, in {root}"
        except DataError:  # of somebody else: not for us to read
            continue
    return found
