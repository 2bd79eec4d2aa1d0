"""German traffic signs (GTSRB): all 43 classes, the official test set; the marked region is resized to 32 x 32."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.descriptor import Descriptor, Files, Form, Source
from dptrain.data.imagefile import Picture, read_images
from dptrain.data.table import rows, whole
from dptrain.errors import DataError

CLASSES = (
    "20 km/h", "30 km/h", "50 km/h", "60 km/h", "70 km/h", "80 km/h", "end of 80 km/h", "100 km/h", "120 km/h",
    "no passing", "no passing for lorries", "right of way at crossing", "priority road", "give way", "stop",
    "no vehicles", "no lorries", "no entry", "danger", "curve left", "curve right", "double curve", "uneven road",
    "slippery road", "road narrows right", "road works", "traffic lights", "pedestrians", "children", "bicycles",
    "ice or snow", "wild animals", "end of limits", "turn right", "turn left", "straight on", "straight or right",
    "straight or left", "keep right", "keep left", "roundabout", "end of no passing", "end of no passing for lorries",
)  # fmt: skip
SIZE = (32, 32)
TEST_TABLE = "GT-final_test.csv"
_COLUMNS = ("Filename", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")
_TRAIN = ("Training", "Final_Training/Images")
_TEST = "Final_Test/Images"


class Signs(NamedTuple):
    """The rows of one or several tables: a region of an image, and its class."""

    pictures: list[Picture]
    labels: list[int]


class Found(NamedTuple):
    """Both parts, and the tables that name their images."""

    train: Signs
    groups: list[int]  #: of the training part: a group is a track, the 30 images of one sign
    test: Signs
    tables: list[Path]

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [*self.tables, *(picture.path for picture in self.train.pictures + self.test.pictures)]


def find(root: Path) -> Found | None:
    """Below ROOT or ROOT/GTSRB, in the layout of either official archive; None: there is neither. Raises DataError."""
    roots = (root, root / "GTSRB")
    train = next((r / name for r in roots for name in _TRAIN if (r / name / "00000").is_dir()), None)
    if train is None:
        return None
    tables = [train / f"{label:05d}" / f"GT-{label:05d}.csv" for label in range(len(CLASSES))]
    folder = next((r / _TEST for r in roots if (r / _TEST).is_dir()), root / "GTSRB" / _TEST)
    places = [*(r / TEST_TABLE for r in roots), folder / TEST_TABLE]
    test = next((p for p in places if p.is_file()), places[0])
    lost = [path for path in (*tables, test) if not path.is_file()]
    if lost:
        raise DataError(f"gtsrb: {lost[0].name} missing in {lost[0].parent}; the data set is incomplete")
    signs, groups = Signs([], []), []
    for label, table in enumerate(tables):
        found = _table(table, table.parent)
        if any(c != label for c in found.labels):
            raise DataError(f"{table} has a row of another class than {label}")
        signs.pictures.extend(found.pictures)
        signs.labels.extend(found.labels)
        groups += [label * 100_000 + _track(picture.path) for picture in found.pictures]
    return Found(signs, groups, _table(test, folder), [*tables, test])


def read(found: Found, size: tuple[int, int]) -> tuple[Part, Part]:
    """Training and test part. Raises DataError."""
    train, test = (
        Part(read_images(part.pictures, (*size, 3)), np.array(part.labels, np.int64))
        for part in (found.train, found.test)
    )
    return train._replace(groups=np.array(found.groups, np.int64)), test


def _track(path: Path) -> int:
    """00007_00029.ppm is image 29 of track 7."""
    track = path.stem.split("_")[0]
    if not (track.isascii() and track.isdigit() and len(track) == 5):
        raise DataError(f"{path}: its name does not begin with a track number, as in 00007_00029.ppm")
    return int(track)


def _table(path: Path, folder: Path) -> Signs:
    """The table's X2 and Y2 are the last pixels inside."""
    pictures, labels = [], []
    for line, row in rows(path, _COLUMNS):
        name = row["Filename"]
        if Path(name).name != name or name in ("", ".", ".."):
            raise DataError(f"{path}, line {line}: {name[:40]!r} is no file name")
        x1, y1, x2, y2 = (whole(path, line, row[column], 100_000) for column in _COLUMNS[1:5])
        pictures.append(Picture(folder / name, (x1, y1, x2 + 1, y2 + 1)))
        labels.append(whole(path, line, row["ClassId"], len(CLASSES)))
    if not pictures:
        raise DataError(f"{path} names no image")
    return Signs(pictures, labels)


def _find(home: Path, form: Form) -> Files | None:
    root, size = home / DATASET.folder, form.shape[:2]
    found = find(root)
    if found is None:
        return None
    name = f"gtsrb-{form.height}x{form.width}"
    return Files(name, CLASSES, root, found.paths, lambda: read(found, size))


_MIRRORS = ("https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/",)
DATASET = Descriptor(
    name="gtsrb",
    about="traffic signs",
    form=Form(*SIZE, 3, len(CLASSES)),
    train=26_640,
    test=12_630,
    terms="resized",
    resizable=True,
    find=_find,
    wanted="the folder GTSRB",
    folder="gtsrb",
    needed=(
        Source("GTSRB-Training_fixed.zip", "md5:513f3c79a4c5141765e10e952eaa2478", _MIRRORS),
        Source("GTSRB_Final_Test_Images.zip", "md5:c7e4e6327067d32654124b0fe9e82185", _MIRRORS),
        Source("GTSRB_Final_Test_GT.zip", "md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5", _MIRRORS),
    ),
)
