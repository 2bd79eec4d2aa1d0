"""German traffic signs (GTSRB): all 43 classes, the official test set, the marked region resized to 32 x 32."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.imagefile import Picture, read_images
from dptrain.data.table import rows, whole
from dptrain.errors import DataError
from dptrain.types import I64

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


class Files(NamedTuple):
    """The tables, and the folders of the images they name."""

    train: list[Path]  #: one table a class, among its images
    test: Path
    test_folder: Path

    @property
    def paths(self) -> list[Path]:
        """What tells whether the set has changed: the tables (written with the images, and naming them)."""
        return [*self.train, self.test]


def find(root: Path) -> Files | None:
    """Below ROOT or ROOT/GTSRB, in the layout of either official archive; None where there is none of it."""
    roots = (root, root / "GTSRB")
    train = next((r / name for r in roots for name in _TRAIN if (r / name / "00000").is_dir()), None)
    if train is None:
        return None
    tables = [train / f"{label:05d}" / f"GT-{label:05d}.csv" for label in range(len(CLASSES))]
    folder = next((r / _TEST for r in roots if (r / _TEST).is_dir()), root / "GTSRB" / _TEST)
    places = [*(r / TEST_TABLE for r in roots), folder / TEST_TABLE]
    return Files(tables, next((p for p in places if p.is_file()), places[0]), folder)


def read(files: Files, size: tuple[int, int]) -> tuple[Part, Part]:
    """Training and test part; a group is a track, the 30 pictures taken while driving past one sign. DataError."""
    pictures: list[Picture] = []
    labels: list[int] = []
    groups: list[int] = []
    for label, table in enumerate(files.train):
        found, classes = _table(table, table.parent)
        if any(c != label for c in classes):
            raise DataError(f"{table} has a row of another class than {label}")
        pictures += found
        labels += classes
        groups += [label * 100_000 + _track(picture.path) for picture in found]
    train = Part(read_images(pictures, (*size, 3)), np.array(labels, np.int64), np.array(groups, np.int64))
    found, classes = _table(files.test, files.test_folder)
    return train, Part(read_images(found, (*size, 3)), _array(classes))


def _array(numbers: list[int]) -> I64:
    return np.array(numbers, np.int64)


def _track(path: Path) -> int:
    """00007_00029.ppm is picture 29 of track 7."""
    track = path.stem.split("_")[0]
    if not (track.isascii() and track.isdigit() and len(track) == 5):
        raise DataError(f"{path}: its name does not begin with the number of a track, as in 00007_00029.ppm")
    return int(track)


def _table(path: Path, folder: Path) -> tuple[list[Picture], list[int]]:
    """Regions and classes. The table's X2 and Y2 are the last pixels inside."""
    pictures, labels = [], []
    for line, row in rows(path, _COLUMNS, ";"):
        name = row["Filename"]
        if Path(name).name != name or name in ("", ".", ".."):
            raise DataError(f"{path}, line {line}: {name[:40]!r} is no file name")
        x1, y1, x2, y2 = (whole(path, line, row[column], 100_000) for column in _COLUMNS[1:5])
        pictures.append(Picture(folder / name, (x1, y1, x2 + 1, y2 + 1)))
        labels.append(whole(path, line, row["ClassId"], len(CLASSES)))
    if not pictures:
        raise DataError(f"{path} names no image")
    return pictures, labels
