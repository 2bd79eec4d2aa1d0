"""From the name of a data set to its files and its images. What is known of each data set: `datasets/`."""

from __future__ import annotations

import os
from pathlib import Path

from dptrain.data.cache import cached, load_or_decode
from dptrain.data.dataset import Dataset
from dptrain.data.datasets import DATASETS
from dptrain.data.descriptor import Descriptor, Files, Form
from dptrain.data.folder import FOLDER, find_folder, is_folder, own_classes, parse_folder
from dptrain.errors import DataError, MissingDataError, UsageError, nearest

NAMES = tuple(DATASETS)
_SHOWN = 5  #: missing files that an error names


def data_home(data_dir: str) -> Path:
    """The data folder: `data_dir`, else $DPTRAIN_DATA, else $XDG_DATA_HOME/dptrain, else ~/.local/share/dptrain."""
    named = data_dir or os.environ.get("DPTRAIN_DATA", "")
    if named:
        return Path(named).expanduser()
    share = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(share).expanduser() / "dptrain"


def cache_home(data_dir: str) -> Path:
    """The folder of decoded data sets."""
    return data_home(data_dir) / "cache"


def open_dataset(name: str, data_dir: str = "") -> Dataset:
    """Opens a data set. Its files are decoded once into <data folder>/cache, and mapped from there.

    A name may be followed by an option: cifar100:coarse, sfddd:96x128, gtsrb:48x48, folder:PATH:64x64.
    Raises UsageError for an unknown name or option, MissingDataError or DataError if files are missing or damaged.
    """
    base, _, option = name.partition(":")
    if base in DATASETS and (load := DATASETS[base].load) is not None:
        _form(DATASETS[base], option)
        return load()
    found = find_files(name, data_dir)
    return load_or_decode(found.name, found.classes, found.paths, cache_home(data_dir), found.decode)


def find_files(name: str, data_dir: str = "") -> Files:
    """The files of a data set that has files. Reads none of them; raises as `open_dataset` does."""
    base, _, option = name.partition(":")
    if base == FOLDER:
        return find_folder(data_home(data_dir), option)
    dataset = _known(name, base)
    form = _form(dataset, option)
    found = None if dataset.find is None else dataset.find(data_home(data_dir), form)
    if found is None:
        raise _missing(dataset, data_home(data_dir))
    lost = [path for path in found.paths if not path.is_file() and not path.is_symlink()]  # of a link, its target
    if lost:
        names = ", ".join(path.name for path in lost[:_SHOWN])
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise DataError(f"{base}: {names}{more} missing in {lost[0].parent}; the data set is incomplete")
    return found


def form_of(name: str, data_dir: str) -> Form:
    """The size of a data set's images and its number of classes. Only a `folder:PATH` has to be there.

    Raises UsageError for an unknown name or option, DataError for a folder that is not there.
    """
    base, _, option = name.partition(":")
    if base != FOLDER:
        return _form(_known(name, base), option)
    return Form(*parse_folder(option)[1].shape, len(find_folder(data_home(data_dir), option).classes))


def _known(name: str, base: str) -> Descriptor:
    if base in DATASETS:
        return DATASETS[base]
    if "/" in name or is_folder(Path(base)):
        path = name if name.startswith(("/", "~", "./", "../")) else f"./{name}"
        raise UsageError(f"there is no data set {name!r}; did you mean {FOLDER}:{path}, a folder of your own?")
    hint = nearest(base, NAMES) or "."
    raise UsageError(f"there is no data set {name!r}{hint} There are {', '.join(NAMES)}, {FOLDER}:PATH")


def _form(dataset: Descriptor, option: str) -> Form:
    try:
        return dataset.form_of(option)
    except UsageError as error:
        if dataset.resizable or dataset.variants:
            raise
        others = ", ".join(name for name, other in DATASETS.items() if other.resizable or other.variants)
        raise UsageError(f"{error}; only {others} have one") from error


def _missing(dataset: Descriptor, home: Path) -> MissingDataError:
    way = f"run `dptrain data get {dataset.name}`, or put {dataset.wanted} into {home / dataset.folder}"
    if dataset.by_hand:
        way = dataset.by_hand_steps()[0]
    note = f" ({dataset.note})" if dataset.note else ""
    return MissingDataError(f"{dataset.name} is not here: {way}, or name another folder with --data-dir{note}")


def standing(name: str, data_dir: str) -> str:
    """Where the data set is, and its size once it was opened. Raises MissingDataError and DataError."""
    if DATASETS[name].load is not None:
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
    """folder:NAME -> one line, for each folder of images in the data folder that belongs to no named data set."""
    taken = {name for dataset in DATASETS.values() for name in (dataset.folder, *dataset.places)}
    found = {}
    for root in sorted(home.iterdir()) if home.is_dir() else ():
        if root.name in taken or root.name.startswith(".") or not root.is_dir():
            continue
        if classes := own_classes(root):
            found[f"{FOLDER}:{root.name}"] = f"{len(classes)} classes, in {root}"
    return found
