"""Which data sets are here and where, told without decoding one. How they are found: catalog.py."""

from __future__ import annotations

from pathlib import Path

from dptrain.data import folder, mnist_csv, tiny_imagenet
from dptrain.data.cache import cached
from dptrain.data.catalog import EMBEDDED, FOLDER, cache_home, find_files, open_dataset
from dptrain.data.imagefile import images_in
from dptrain.data.sources import KNOWN
from dptrain.errors import DataError

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
