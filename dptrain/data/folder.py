"""folder:PATH: your own images, one folder per class, with or without train/ and test/. Image files: imagefile.py."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.descriptor import Files, parse_size
from dptrain.data.imagefile import Picture, images_in, read_images
from dptrain.data.split import hold_out
from dptrain.errors import DataError, UsageError

FOLDER = "folder"  #: what the name of such a data set begins with: folder:PATH, folder:PATH:HxW or folder:PATH:HxWx1
SHAPE = (32, 32, 3)  #: (h, w, c) if the name has no size
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")


def find_folder(home: Path, option: str) -> Files:
    """The files of folder:OPTION. A relative PATH is below the data folder, unless it begins with a dot.

    Raises UsageError and DataError.
    """
    path, shape = parse_folder(option)
    root = _place(home, path)
    if not is_folder(root):
        shorter, _, rest = path.rpartition(":")
        if shorter and is_folder(_place(home, shorter)):
            parse_size(f"{FOLDER}:{shorter}", rest, SHAPE)  # raises: it is not a size
        here = f"; the one in this directory is {FOLDER}:./{path}" if root != Path(path) and Path(path).is_dir() else ""
        archive = "" if root == Path(path).expanduser() else f", or `dptrain data add {FOLDER}:{path} ARCHIVE`"
        raise DataError(f"{FOLDER}:{path}: there is no folder {root}{here}; make one folder per class in it{archive}")
    found = listing(root)
    name = f"{root.resolve().name}-{'x'.join(map(str, shape))}"
    return Files(name, found.classes, root, found.paths, lambda: read(name, found, shape))


def parse_folder(option: str) -> tuple[str, tuple[int, int, int]]:
    """PATH[:HxW[xC]] -> PATH, (h, w, c). Raises UsageError."""
    path, size = path_and_size(option)
    if not path:
        raise UsageError("data set folder: write folder:PATH or folder:PATH:HEIGHTxWIDTH")
    height, width, channels = parse_size(f"{FOLDER}:{path}", size, SHAPE)
    return path, (height, width, channels)


def path_and_size(option: str) -> tuple[str, str]:
    """PATH:HxW -> PATH, HxW. Any other colon is a character of PATH."""
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


def is_folder(path: Path) -> bool:
    """Raises DataError if that cannot be found out."""
    try:
        return path.is_dir()
    except OSError as error:  # a name that is too long, a folder of another user
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def own_classes(root: Path) -> tuple[str, ...]:
    """The classes of a folder that looks like such a data set at first glance; none for other folders."""
    try:
        train, classes = classes_in(root)
        return classes if len(classes) > 1 and images_in(train / classes[0]) else ()
    except DataError:  # a folder of another user
        return ()


class Labelled(NamedTuple):
    """Files and the class of each, in order of names."""

    paths: list[Path]
    labels: list[int]


class Listing(NamedTuple):
    """What is in the folder; `test` is None if it has no test folder."""

    classes: tuple[str, ...]
    train: Labelled
    test: Labelled | None

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return self.train.paths + (self.test.paths if self.test else [])


def listing(root: Path) -> Listing:
    """ROOT/CLASS/* or ROOT/train/CLASS/* and ROOT/test/CLASS/* (val will do). Raises DataError."""
    train, classes = classes_in(root)
    if len(classes) < 2:
        raise DataError(f"{train} holds {len(classes)} folder(s); one per class is needed, two or more")
    test = next((root / name for name in _TEST if (root / name).is_dir()), None) if train != root else None
    if test is not None:
        unknown = [p.name for p in _folders(test) if p.name not in classes]
        if unknown:
            raise DataError(f"{test} has a class {unknown[0]!r}, which {train} does not have")
    empty = [name for name in classes if not images_in(train / name)]
    if empty:
        raise DataError(f"{train / empty[0]} holds no image file")
    return Listing(classes, _labelled(train, classes), _labelled(test, classes) if test else None)


def classes_in(root: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder with one folder per class, and the classes; does not look at the images. Raises DataError."""
    train = next((root / name for name in _TRAIN if (root / name).is_dir()), root)
    return train, tuple(sorted(p.name for p in _folders(train)))


def read(name: str, found: Listing, shape: tuple[int, int, int]) -> tuple[Part, Part]:
    """Training and test part; if there is no test folder, a tenth is held out."""
    train = _part(found.train, shape)
    return hold_out(name, found.classes, train) if found.test is None else (train, _part(found.test, shape))


def _part(files: Labelled, shape: tuple[int, int, int]) -> Part:
    return Part(read_images([Picture(path) for path in files.paths], shape), np.array(files.labels, np.int64))


def _labelled(folder: Path, classes: tuple[str, ...]) -> Labelled:
    pairs = [
        (p, label) for label, name in enumerate(classes) if (folder / name).is_dir() for p in images_in(folder / name)
    ]
    if not pairs:
        raise DataError(f"{folder} holds no image file")
    return Labelled([p for p, _ in pairs], [label for _, label in pairs])


def _folders(root: Path) -> list[Path]:
    try:
        return [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror}") from error
