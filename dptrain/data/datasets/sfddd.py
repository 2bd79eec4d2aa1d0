"""State Farm distracted drivers: folders c0 ... c9 of photographs, and a table that says who drives."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.dataset import Part, hold_out
from dptrain.data.imagefile import Picture, images_in, read_images
from dptrain.data.table import rows
from dptrain.errors import DataError

CLASSES = (
    "safe driving",
    "texting, right hand",
    "phoning, right hand",
    "texting, left hand",
    "phoning, left hand",
    "operating the radio",
    "drinking",
    "reaching behind",
    "hair and make-up",
    "talking to passenger",
)
TABLE = "driver_imgs_list.csv"
SIZE = (48, 64)  #: height and width the seeds trained windows of 32 x 32 from; the photographs are 480 x 640

_log = logging.getLogger(__name__)


class Files(NamedTuple):
    """Where they are; the table is None where there is none."""

    photographs: list[Path]  #: class by class, in order of names
    labels: list[int]
    table: Path | None


def find(root: Path) -> Files | None:
    """The photographs below ROOT/train or ROOT/imgs/train, and the table beside; None where there is no c0."""
    train = next((f for f in (root / "train", root / "imgs" / "train") if (f / "c0").is_dir()), None)
    if train is None:
        return None
    found = [(p, label) for label in range(len(CLASSES)) for p in images_in(train / f"c{label}")]
    table = next((f / TABLE for f in (root, train.parent, train) if (f / TABLE).is_file()), None)
    return Files([p for p, _ in found], [label for _, label in found], table)


def read(name: str, files: Files, size: tuple[int, int]) -> tuple[Part, Part]:
    """Training and test part: no driver is in both, if the table says who drives. Raises DataError."""
    if not files.photographs:
        raise DataError(f"{name}: there are folders, but no photograph in them")
    groups = None if files.table is None else _drivers(files)
    if groups is None:
        _log.warning(
            "%s: no %s beside the photographs, so they are split at random: the same drivers are trained and tested "
            "on, and the accuracy says little",
            name,
            TABLE,
        )
    images = read_images([Picture(path) for path in files.photographs], (*size, 3))
    return hold_out(name, CLASSES, Part(images, np.array(files.labels, np.int64), groups))


def _drivers(files: Files) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A number for each photograph's driver; every photograph must be in the table, under its class."""
    assert files.table is not None
    listed: dict[tuple[str, str], str] = {}
    for _, row in rows(files.table, ("subject", "classname", "img")):
        listed[row["classname"], row["img"]] = row["subject"]
    names: dict[str, int] = {name: i for i, name in enumerate(sorted(set(listed.values())))}
    numbers = []
    for path, label in zip(files.photographs, files.labels, strict=True):
        driver = listed.get((f"c{label}", path.name))
        if driver is None:
            raise DataError(f"{files.table} does not say who drives in c{label}/{path.name}: get the whole table")
        numbers.append(names[driver])
    return np.array(numbers, np.int64)
