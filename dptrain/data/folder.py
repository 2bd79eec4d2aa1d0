"""folder:PATH: your own images, one folder per class, with or without train/ and test/.

Which files are pictures: walk.py. Their pixels: imagefile.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from dptrain.data.dataset import Part, hold_out, is_one_line, warn_of_overlap, warn_of_repetition, warn_once
from dptrain.data.descriptor import Files, parse_size
from dptrain.data.imagefile import WHITE, Picture, read_images
from dptrain.data.walk import RUNS, Walk, entries_in, folders_in, walk
from dptrain.errors import DataError, UsageError

FOLDER = "folder"  #: what the name of such a data set begins with: folder:PATH, folder:PATH:HxW or folder:PATH:HxWx1
SHAPE = (32, 32, 3)  #: (h, w, c) if the name has no size
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")
_PART = re.compile(rf"({'|'.join((*_TRAIN, *_TEST))})([^a-z]|$)", re.IGNORECASE)  #: training_set, val2017


class Wanted(NamedTuple):
    """How the pictures of a folder are read."""

    shape: tuple[int, int, int]  #: (h, w, c) to which they are resized
    fill: int = WHITE  #: what transparent pixels are laid on, 0 to 255


def find_folder(home: Path, option: str) -> Files:
    """The files of folder:OPTION. A relative PATH is below the data folder, unless it begins with a dot.

    Logs once what is left out. Raises UsageError and DataError.
    """
    path, wanted = parse_folder(option)
    root = place_of(home, path)
    if not is_folder(root):
        shorter, _, rest = path.rpartition(":")
        if shorter and is_folder(place_of(home, shorter)):
            parse_size(f"{FOLDER}:{shorter}", rest, SHAPE)  # raises: it is not a size
        here = f"; the one in this directory is {FOLDER}:./{path}" if root != Path(path) and Path(path).is_dir() else ""
        archive = "" if root == Path(path).expanduser() else f", or `dptrain data add {FOLDER}:{path} ARCHIVE`"
        raise DataError(f"{FOLDER}:{path}: there is no folder {root}{here}; make one folder per class in it{archive}")
    found = listing(root)
    if found.left_out:
        warn_once(found.left_out)
    name = f"{root.resolve().name}-{'x'.join(map(str, wanted.shape))}{f'-{wanted.fill}' * (wanted.fill != WHITE)}"
    return Files(name, found.classes, root, found.paths, lambda: read(name, found, wanted))


def parse_folder(option: str) -> tuple[str, Wanted]:
    """PATH[:HxW[xC][:FILL]] -> PATH and what is wanted. Raises UsageError."""
    path, size, fill = path_and_size(option)
    if not path:
        raise UsageError("data set folder: write folder:PATH or folder:PATH:HEIGHTxWIDTH")
    height, width, channels = parse_size(f"{FOLDER}:{path}", size, SHAPE)
    if int(fill or WHITE) > WHITE:
        raise UsageError(
            f"data set {FOLDER}:{option}: FILL, what transparent pictures are laid on, is 0 (black) to 255 (white)"
        )
    return path, Wanted((height, width, channels), int(fill or WHITE))


def path_and_size(option: str) -> tuple[str, str, str]:
    """PATH:HxW:FILL -> PATH, HxW, FILL. Any other colon is a character of PATH."""
    path, colon, size = option.rpartition(":")
    if (both := re.fullmatch(r"(.*):([0-9x]+x[0-9x]+):([0-9]{1,3})", option, re.DOTALL)) is not None:
        return both[1], both[2], both[3]
    return (path, size, "") if colon and not size.strip("0123456789x") else (option, "", "")


def place_of(home: Path, path: str) -> Path:
    """A relative path is below the data folder, unless it begins with a dot. Raises UsageError."""
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
        train, _ = _parts(root)
        classes = tuple(folder.name for folder in folders_in(train))
        return classes if len(classes) > 1 and walk(train / classes[0]).pictures else ()
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
    left_out: str = ""  #: one line about files that are not used; "": all are

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return self.train.paths + (self.test.paths if self.test else [])


def listing(root: Path) -> Listing:
    """ROOT/CLASS/* or ROOT/train/CLASS/* and ROOT/test/CLASS/* (val will do), to any depth. Raises DataError."""
    train, test = _parts(root)
    walked, left_out = _classes(train)
    classes = tuple(walked)
    if len(classes) < 2:
        deeper = train / classes[0] if classes else train
        below = [folder.name for folder in folders_in(deeper) if walk(folder).pictures] if classes else []
        hint = f"; are {deeper}/{below[0]} and {below[1]} the classes? Then name that folder" if len(below) > 1 else ""
        raise DataError(f"{train} holds {len(classes)} folder(s); one per class is needed, two or more{hint}")
    _refuse_odd(train, walked)
    tested, more = _classes(test) if test else ({}, [])
    if test and (unknown := [name for name in tested if name not in classes]):
        raise DataError(f"{test} has a class {unknown[0]!r}, which {train} does not have")
    if test and not any(found.pictures for found in tested.values()):
        raise DataError(f"{test} holds no image file")
    if train != root:
        left_out = left_out + _loose(root)
        beside = f"folders beside {train.name}{f' and {test.name}' if test else ''}"
        left_out += [(folder, beside) for folder in folders_in(root) if folder not in (train, test)]
    every = [*walked.values(), *tested.values()]
    used = Walk([p for one in every for p in one.pictures], [out for one in every for out in one.left_out])
    used.left_out.extend(left_out + more)
    return Listing(
        classes, _labelled(walked, classes), _labelled(tested, classes) if test else None, used.summary(root)
    )


def _parts(root: Path) -> tuple[Path, Path | None]:
    """The folder of the training classes, and that of the test classes.

    ROOT/train is the training set if it has folders. If it has pictures only, and another folder is there that is no
    part of a split (bus, car, train), it is a class.
    """
    known = {folder.name.lower(): folder for folder in folders_in(root)}
    train = next((known[name] for name in _TRAIN if name in known), None)
    if train is None or (not folders_in(train) and not set(known) <= {*_TRAIN, *_TEST}):
        return root, None
    return train, next((known[name] for name in _TEST if name in known), None)


def _classes(folder: Path) -> tuple[dict[str, Walk], list[tuple[Path, str]]]:
    """Class -> its files, in order of names; and what is left out beside the classes, such as a folder of runs."""
    walked, left_out = {}, _loose(folder)
    for place in folders_in(folder):
        found = walk(place)
        if not found.pictures and any(reason == RUNS for _, reason in found.left_out):
            left_out.append((place, RUNS))
        else:
            name = normalize("NFC", place.name)  # macOS decomposes é into two characters
            if name in walked:
                raise DataError(f"{folder} has two folders called {name!r}, in two spellings: rename one")
            walked[name] = found
    return walked, left_out


def _loose(folder: Path) -> list[tuple[Path, str]]:
    """What lies in the folder itself, in no folder of a class."""
    found = entries_in(folder)
    return [(path, "pictures in no folder of a class") for path in found.pictures] + found.left_out


def _refuse_odd(train: Path, walked: dict[str, Walk]) -> None:
    """Raises DataError for a class that has no picture, no proper name, or is probably a part of a split."""
    for name, found in walked.items():
        place = train / name
        if not is_one_line(name):
            raise DataError(f"{str(place)!r}: the name of a class must be UTF-8 text in one line: rename the folder")
        if not found.pictures:
            first = f": {found.left_out[0][0].name} is left out ({found.left_out[0][1]})" if found.left_out else ""
            raise DataError(f"{place} holds no image file{first}")
        below = {path.relative_to(train).parts[1] for path in found.pictures if path.parent.parent != train}
        if _PART.match(name) and len(below) > 1:
            folders = ", ".join(sorted(below)[:2])
            raise DataError(
                f"{place} holds the folders {folders}: if they are classes, call it train or test; "
                "if it is a class itself, give it another name"
            )


def read(name: str, found: Listing, wanted: Wanted) -> tuple[Part, Part]:
    """Training and test part; if there is no test folder, a tenth is held out."""
    train = _part(found.train, wanted)
    warn_of_repetition(name, found.classes, train)
    if found.test is None:
        return hold_out(name, found.classes, train)
    test = _part(found.test, wanted)
    warn_of_overlap(name, train, test)
    return train, test


def _part(files: Labelled, wanted: Wanted) -> Part:
    pictures = [Picture(path, fill=wanted.fill) for path in files.paths]
    return Part(read_images(pictures, wanted.shape), np.array(files.labels, np.int64))


def _labelled(walked: dict[str, Walk], classes: tuple[str, ...]) -> Labelled:
    pairs = [(path, label) for label, name in enumerate(classes) if name in walked for path in walked[name].pictures]
    return Labelled([path for path, _ in pairs], [label for _, label in pairs])
