"""A folder for each class, with or without train/ and test/ above: anybody's own pictures. Images: imagefile.py."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.dataset import Part, hold_out
from dptrain.data.imagefile import Picture, images_in, read_images
from dptrain.errors import DataError

_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")


class Labelled(NamedTuple):
    """Files and the class of each, in order of names."""

    paths: list[Path]
    labels: list[int]


class Listing(NamedTuple):
    """What is in the folder; `test` is None where it is one set."""

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
        raise DataError(f"{train} holds {len(classes)} folder(s); one for each class is needed, two classes at least")
    test = next((root / name for name in _TEST if (root / name).is_dir()), None) if train != root else None
    if test is not None:
        unknown = [p.name for p in _folders(test) if p.name not in classes]
        if unknown:
            raise DataError(f"{test} has a class {unknown[0]!r}, which {train} has not")
    empty = [name for name in classes if not images_in(train / name)]
    if empty:
        raise DataError(f"{train / empty[0]} holds no image file")
    return Listing(classes, _labelled(train, classes), _labelled(test, classes) if test else None)


def classes_in(root: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that has one for each class, and their names, without a look at the images. Raises DataError."""
    train = next((root / name for name in _TRAIN if (root / name).is_dir()), root)
    return train, tuple(sorted(p.name for p in _folders(train)))


def read(name: str, found: Listing, shape: tuple[int, int, int]) -> tuple[Part, Part]:
    """Training and test part; where there is no test folder, a tenth is held out."""
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
