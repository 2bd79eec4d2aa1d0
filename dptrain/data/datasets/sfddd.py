"""State Farm's distracted drivers: folders c0 ... c9 of photographs, and a table with the driver of each photograph."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.dataset import Part, hold_out
from dptrain.data.descriptor import Descriptor, Files, Form
from dptrain.data.imagefile import Picture, read_images
from dptrain.data.table import rows
from dptrain.data.walk import walk
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
SIZE = (48, 64)  #: (h, w) from which the predecessors cropped windows of 32 x 32; the photographs have 480 x 640

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """The files of the data set."""

    photographs: list[Path]  #: class by class, in order of names
    labels: list[int]
    table: Path | None  #: None: it is not there


def find(root: Path) -> Found | None:
    """The photographs below ROOT/train or ROOT/imgs/train, and the table; None if there is no folder c0."""
    train = next((f for f in (root / "train", root / "imgs" / "train") if (f / "c0").is_dir()), None)
    if train is None:
        return None
    found = [(p, label) for label in range(len(CLASSES)) for p in walk(train / f"c{label}").pictures]
    table = next((f / TABLE for f in (root, train.parent, train) if (f / TABLE).is_file()), None)
    return Found([p for p, _ in found], [label for _, label in found], table)


def read(name: str, found: Found, size: tuple[int, int]) -> tuple[Part, Part]:
    """Training and test part; with the table, no driver is in both. Raises DataError."""
    if not found.photographs:
        raise DataError(f"{name}: its folders hold no photograph")
    groups = None if found.table is None else _drivers(found)
    if groups is None:
        _log.warning(
            "%s: there is no %s, so the photographs are split at random: the same drivers are in the training set and "
            "in the test set, and the test accuracy will be too good",
            name,
            TABLE,
        )
    images = read_images([Picture(path) for path in found.photographs], (*size, 3))
    return hold_out(name, CLASSES, Part(images, np.array(found.labels, np.int64), groups))


def _drivers(found: Found) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The driver's number for each photograph. Every photograph must be in the table, with its class."""
    assert found.table is not None
    listed: dict[tuple[str, str], str] = {}
    for _, row in rows(found.table, ("subject", "classname", "img")):
        listed[row["classname"], row["img"]] = row["subject"]
    names: dict[str, int] = {name: i for i, name in enumerate(sorted(set(listed.values())))}
    numbers = []
    for path, label in zip(found.photographs, found.labels, strict=True):
        driver = listed.get((f"c{label}", path.name))
        if driver is None:
            raise DataError(f"{found.table} does not say who drives in c{label}/{path.name}: get the whole table")
        numbers.append(names[driver])
    return np.array(numbers, np.int64)


def _find(home: Path, form: Form) -> Files | None:
    root, size = home / DATASET.folder, form.shape[:2]
    found = find(root)
    if found is None:
        return None
    name = f"sfddd-{form.height}x{form.width}"
    paths = found.photographs + ([found.table] if found.table else [])
    return Files(name, CLASSES, root, paths, lambda: read(name, found, size))


DATASET = Descriptor(
    name="sfddd",
    about="photographs of drivers",
    form=Form(*SIZE, 3, len(CLASSES)),
    train=22_424,
    test=0,
    terms="resized; Kaggle's rules",
    resizable=True,
    find=_find,
    wanted="imgs/train/c0 ... c9",
    folder="sfddd",
    by_hand="https://www.kaggle.com/c/state-farm-distracted-driver-detection/data (imgs.zip, driver_imgs_list.csv)",
    holds=(
        "imgs/train/c[0-9]/*",
        "train/c[0-9]/*",
        "driver_imgs_list.csv",
        "imgs/driver_imgs_list.csv",
        "imgs/train/driver_imgs_list.csv",
        "train/driver_imgs_list.csv",
    ),
)
