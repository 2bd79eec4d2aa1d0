"""Tiny ImageNet: 200 classes, 64 x 64 pixels. Its validation part is the test set here: its test labels are secret."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.descriptor import Descriptor, Files, Form, Source
from dptrain.data.imagefile import Picture, read_images
from dptrain.data.table import text
from dptrain.data.walk import walk
from dptrain.errors import DataError

FOLDER = "tiny-imagenet-200"
SHAPE = (64, 64, 3)


class Found(NamedTuple):
    """Paths and labels of both parts."""

    classes: tuple[str, ...]
    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    tables: list[Path]  #: names of the classes, and labels of the test part

    @property
    def paths(self) -> list[Path]:
        """All files that decide the data set."""
        return [*self.tables, *(path for path, _ in self.train + self.test)]


def find(root: Path) -> Found | None:
    """What wnids.txt, words.txt and val_annotations.txt say; None if there is no wnids.txt. Raises DataError."""
    if not (root / "wnids.txt").is_file():
        return None
    ids = text(root / "wnids.txt").split()
    if len(ids) < 2 or len(set(ids)) != len(ids) or not all(name.isalnum() for name in ids):
        raise DataError(f"{root / 'wnids.txt'} does not hold the names of two or more classes, each once")
    train = [
        (path, label) for label, name in enumerate(ids) for path in walk(root / "train" / name / "images").pictures
    ]
    numbers, table, test = {name: i for i, name in enumerate(ids)}, root / "val" / "val_annotations.txt", []
    for line, row in enumerate(text(table).splitlines(), 1):
        file, name = (*row.split("\t"), "", "")[:2]
        if name not in numbers or Path(file).name != file or file in ("", ".", ".."):
            raise DataError(f"{table}, line {line}: {row[:60]!r} is not a file name and one of the {len(ids)} classes")
        test.append((root / "val" / "images" / file, numbers[name]))
    tables = [path for path in (root / "wnids.txt", root / "words.txt", table) if path.is_file()]
    return Found(_titles(root / "words.txt", ids), train, test, tables)


def read(found: Found) -> tuple[Part, Part]:
    """Training and test part."""
    train, test = (
        Part(read_images([Picture(path) for path, _ in part], SHAPE), np.array([label for _, label in part], np.int64))
        for part in (found.train, found.test)
    )
    return train, test


def _titles(path: Path, ids: list[str]) -> tuple[str, ...]:
    """The first word for each class, or its number if the list of words has none."""
    words = dict(line.split("\t", 1) for line in text(path).splitlines() if "\t" in line) if path.is_file() else {}
    return tuple(words.get(name, name).split(",")[0].strip() for name in ids)


def _find(home: Path, _: Form) -> Files | None:
    root = home / FOLDER
    found = find(root)
    return None if found is None else Files("tiny-imagenet", found.classes, root, found.paths, lambda: read(found))


DATASET = Descriptor(
    name="tiny-imagenet",
    about="photographs",
    form=Form(*SHAPE, 200),
    train=100_000,
    test=10_000,
    terms="ImageNet's terms",
    find=_find,
    wanted=FOLDER,
    places=(FOLDER,),
    needed=(Source("tiny-imagenet-200.zip", "md5:90528d7ca1a48142e341f4ef8d21d0de", ("http://cs231n.stanford.edu/",)),),
)
