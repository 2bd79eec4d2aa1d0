"""From the name of a data set to its files and its images. What is known of each data set: `datasets/`.

Slow formats are decoded once, afterwards one file is mapped:

<data folder>/cache/<name>-<content>.u8    labels (int64), images (each training, then test), and training groups
<data folder>/cache/<name>-<sources>.json  shapes, size and time of the other file, mean, standard deviation, SHA-256

The first is named by the SHA-256 of its contents and has the time of its newest source. So processes that decode at the
same time write the same file; each renames its finished file into place, and the last one wins.

The second is named by what the sources are: path, size, times and inode of each, since a copy that keeps size and time
of modification (cp -p, tar, rsync) has another inode or time of change; where they are small, also by their content.

<data folder>/arrays/ has such pairs of files for arrays that Python programs give: array:HASH:HxWxC, where HASH is the
beginning of the data set's SHA-256. A worker opens them by that name, as it opens every data set.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dptrain.atomic import write_atomically
from dptrain.data.dataset import Dataset, Figures, Part, assemble
from dptrain.data.datasets import DATASETS
from dptrain.data.descriptor import Descriptor, Files, Form
from dptrain.data.folder import FOLDER, find_folder, is_folder, own_classes, parse_folder, place_of
from dptrain.data.npz import read_npz
from dptrain.data.parts import join
from dptrain.errors import DataError, MissingDataError, UsageError, nearest
from dptrain.types import U8

NAMES = tuple(DATASETS)
_SHOWN = 5  #: missing files that an error names
_FORMAT = 2  #: of a decoded data set on disk; 2: transparent pictures are laid on white
_FEW_BYTES = 32 << 20  #: sources of up to so many bytes are compared by content: 30 ms
ARRAY, NPZ = "array", "npz"  #: what the names of data sets of a user's arrays begin with
_DIGITS = 16  #: of the SHA-256 in a name
_ARRAY_NAME = re.compile(r"([0-9a-f]{16}):([0-9]+)x([0-9]+)x([0-9]+)")
_log = logging.getLogger(__name__)


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

    A name may be followed by an option: cifar100:coarse, sfddd:96x128, gtsrb:48x48, folder:PATH:64x64, npz:FILE.
    Raises UsageError for an unknown name or option, MissingDataError or DataError if files are missing or damaged.
    """
    base, _, option = name.partition(":")
    if base in DATASETS and (load := DATASETS[base].load) is not None:
        _form(DATASETS[base], option)
        return load()
    if base == ARRAY:
        return _open_array(data_home(data_dir), option)
    if base == NPZ:
        return _open_npz(data_home(data_dir), option)
    found = find_files(name, data_dir)
    return load_or_decode(
        found.name,
        found.classes,
        found.paths,
        cache_home(data_dir),
        lambda: assemble(found.name, found.classes, *found.decode()),
    )


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
    """The size of a data set's images and its number of classes. Only the user's own folders and arrays must be here.

    Raises UsageError for an unknown name or option, DataError for a folder or a file that is not there.
    """
    base, _, option = name.partition(":")
    if base in (ARRAY, NPZ):
        dataset = open_dataset(name, data_dir)
        return Form(*dataset.image_shape, len(dataset.classes))
    if base != FOLDER:
        return _form(_known(name, base), option)
    return Form(*parse_folder(option)[1].shape, len(find_folder(data_home(data_dir), option).classes))


def _known(name: str, base: str) -> Descriptor:
    if base in DATASETS:
        return DATASETS[base]
    if "/" in name or is_folder(Path(base)):
        path = name if name.startswith(("/", "~", "./", "../")) else f"./{name}"
        raise UsageError(f"there is no data set {name!r}; did you mean {FOLDER}:{path}, a folder of your own?")
    if name.endswith(".npz"):
        raise UsageError(f"there is no data set {name!r}; did you mean {NPZ}:./{name}, a file of arrays?")
    hint = nearest(base.lower(), NAMES) or "."
    raise UsageError(f"there is no data set {name!r}{hint} There are {', '.join(NAMES)}, {FOLDER}:PATH, {NPZ}:FILE")


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
    return f"{_figures(dataset)}, {place}" if place else _figures(dataset)


def _figures(dataset: Dataset) -> str:
    height, width, channels = dataset.image_shape
    counts = f"{dataset.train_labels.size:,} + {dataset.test_labels.size:,}"
    return f"{counts} of {height}x{width}x{channels}, {len(dataset.classes)} classes, {dataset.sha256[:12]}"


def own(home: Path) -> dict[str, str]:
    """Name -> one line, for the user's own data sets in the data folder: folders of images, and stored arrays."""
    taken = {name for dataset in DATASETS.values() for name in (dataset.folder, *dataset.places)}
    found = {}
    for root in sorted(home.iterdir()) if home.is_dir() else ():
        if root.name in taken or root.name.startswith(".") or not root.is_dir():
            continue
        if classes := own_classes(root):
            found[f"{FOLDER}:{root.name}"] = f"{len(classes)} classes, in {root}"
    return found | {name: _figures(dataset) for name, dataset in _arrays_in(home)}


# --- decoded data sets on disk


def load_or_decode(
    name: str, classes: tuple[str, ...] | None, sources: list[Path], directory: Path, decode: Callable[[], Dataset]
) -> Dataset:
    """The data set of these source files (all exist), mapped from `directory`; decoded into it first if necessary.

    classes: None if only the decoded files tell them. If `directory` cannot be written, the data set stays in this
    process's memory, and one warning is logged.
    """
    manifest = _manifest(name, classes, sources, directory)
    found = _load(name, classes, manifest)
    if found is not None:
        return found
    dataset = decode()
    if _manifest(name, classes, sources, directory) != manifest:
        _log.warning("%s: its files changed while they were read: they are read again at the next start", name)
        return dataset
    try:
        _store(dataset, manifest, newest=max(path.stat().st_mtime_ns for path in sources))
    except OSError as e:
        _log.warning("%s is kept in memory, not mapped: %s cannot be written (%s)", name, directory, e.strerror)
        return dataset
    return _load(name, classes, manifest) or dataset


def cached(name: str, classes: tuple[str, ...], sources: list[Path], directory: Path) -> Dataset | None:
    """The data set as `load_or_decode` maps it; None if it has not been decoded yet."""
    return _load(name, classes, _manifest(name, classes, sources, directory))


def _manifest(name: str, classes: tuple[str, ...] | None, sources: list[Path], directory: Path) -> Path:
    return directory / f"{name}-{_key(classes, sources)}.json"


def _key(classes: tuple[str, ...] | None, sources: list[Path]) -> str:
    parents = {path.parent for path in sources}  # resolving 100,000 paths takes seconds
    folders = {parent: str(parent.resolve()) for parent in parents}
    stats = [(f"{folders[path.parent]}/{path.name}", _stat(path)) for path in sources]
    facts = [(path, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for path, s in stats]
    digest = hashlib.sha256(json.dumps([_FORMAT, classes, facts]).encode())
    if sum(stat.st_size for _, stat in stats) <= _FEW_BYTES:
        for path in sources:
            digest.update(_content(path))
    return digest.hexdigest()[:12]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:  # it was listed a moment ago: a link to nothing, or just removed
        link = f" (it is a link to {path.readlink()})" if path.is_symlink() else ""
        raise DataError(f"{path} cannot be read: {error.strerror}{link}: remove or repair it") from error


def _load(name: str, classes: tuple[str, ...] | None, manifest: Path) -> Dataset | None:
    """The stored data set; None if there is none, or if it is not what the manifest says. classes: None: as stored."""
    try:
        entry = json.loads(manifest.read_text())
        path = manifest.parent / str(entry["file"])
        stat = path.stat()
        if [stat.st_size, stat.st_mtime_ns] != entry["size_mtime"]:
            return None
        figures = Figures(tuple(entry["mean"]), tuple(entry["std"]), str(entry["sha256"]))
        train, test = _map(path, entry["train"], entry["test"])
        if entry.get("groups"):
            groups = np.fromfile(path, "<i8", offset=stat.st_size - 8 * train.labels.size).astype(np.int64)
            train = train._replace(groups=groups)
        train = train._replace(validation=int(entry.get("validation", 0)))
        return assemble(name, tuple(entry["classes"]) if classes is None else classes, train, test, figures)
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: decode again
        return None


def _map(path: Path, train: list[int], test: list[int]) -> tuple[Part, Part]:
    """Splits the file into its four arrays; images are views of the mapping, labels are copied."""
    content: U8 = np.asarray(np.memmap(path, np.uint8, "r"))
    labels = content[: 8 * (train[0] + test[0])].view("<i8").astype(np.int64)
    images = content[8 * labels.size :]
    size, more = (int(np.prod(shape, dtype=np.int64)) for shape in (train, test))
    return (
        Part(images[:size].reshape(train), labels[: train[0]]),
        Part(images[size : size + more].reshape(test), labels[train[0] :]),
    )


def _store(dataset: Dataset, manifest: Path, newest: int) -> None:
    directory = manifest.parent
    directory.mkdir(parents=True, exist_ok=True)
    content = directory / f"{dataset.name}-{dataset.sha256[:12]}.u8"
    labels = (dataset.train_labels, dataset.test_labels)
    chunks = [
        *(np.ascontiguousarray(a, "<i8").data for a in labels),
        dataset.train_images.data,
        dataset.test_images.data,
    ]
    if dataset.train_groups is not None:
        chunks.append(np.ascontiguousarray(dataset.train_groups, "<i8").data)
    write_atomically(content, *chunks, mtime_ns=newest)
    entry: dict[str, Any] = {
        "file": content.name,
        "size_mtime": [sum(chunk.nbytes for chunk in chunks), newest],
        "train": list(dataset.train_images.shape),
        "test": list(dataset.test_images.shape),
        "groups": dataset.train_groups is not None,
        "validation": dataset.validation,
        "classes": list(dataset.classes),
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        "sha256": dataset.sha256,
    }
    write_atomically(manifest, json.dumps(entry, indent=1).encode(), mtime_ns=newest)


# --- data sets of a user's arrays


def keep(dataset: Dataset, home: Path) -> str:
    """Stores a data set in the data folder, and returns the name under which every process of this machine opens it.

    Raises DataError if it cannot be written.
    """
    digits = dataset.sha256[:_DIGITS]
    manifest = home / "arrays" / f"{digits}.json"
    if _load(_title(digits), None, manifest) is None:
        try:
            _store(replace(dataset, name=_title(digits)), manifest, newest=time.time_ns())
        except OSError as error:
            raise DataError(
                f"the arrays cannot be stored in {manifest.parent}: {error.strerror}; name another one with --data-dir"
            ) from error
    return f"{ARRAY}:{digits}:{'x'.join(map(str, dataset.image_shape))}"


def _open_array(home: Path, option: str) -> Dataset:
    """The data set array:OPTION. Raises UsageError, MissingDataError and DataError."""
    digits, _ = parse_array(option)
    manifest = home / "arrays" / f"{digits}.json"
    if not manifest.is_file():
        raise MissingDataError(
            f"{ARRAY}:{option} is not here: it is made of arrays by dptrain.fit(x, y); on another machine, copy "
            f"{manifest.parent}/*{digits[:12]}* from there, or name another folder with --data-dir"
        )
    found = _load(_title(digits), None, manifest)
    if found is None or found.sha256[:_DIGITS] != digits:
        raise DataError(f"{manifest} or the file beside it is damaged: remove both, and give the arrays again")
    return found


def parse_array(option: str) -> tuple[str, tuple[int, int, int]]:
    """HASH:HxWxC -> HASH, (h, w, c). Raises UsageError."""
    match = _ARRAY_NAME.fullmatch(option)
    if match is None:
        raise UsageError(f"data set {ARRAY}:{option}: write {ARRAY}:HASH:HxWxC, as `dptrain data list` shows it")
    return match[1], (int(match[2]), int(match[3]), int(match[4]))


def _arrays_in(home: Path) -> Iterator[tuple[str, Dataset]]:
    """The stored data sets and their names."""
    for manifest in sorted((home / "arrays").glob("*.json")):
        found = _load(_title(manifest.stem), None, manifest)
        if found is not None:
            yield f"{ARRAY}:{manifest.stem}:{'x'.join(map(str, found.image_shape))}", found


def _title(digits: str) -> str:
    return f"{ARRAY}-{digits[:12]}"


def _open_npz(home: Path, option: str) -> Dataset:
    """The file npz:OPTION. A relative path is below the data folder, unless it begins with a dot. Raises DataError."""
    if not option:
        raise UsageError(f"data set {NPZ}: write {NPZ}:FILE")
    path = place_of(home, option)
    if not path.is_file():
        here = f"; the one in this directory is {NPZ}:./{option}" if Path(option).is_file() else ""
        raise DataError(f"{NPZ}:{option}: there is no file {path}{here}")
    title = re.sub(r"[^A-Za-z0-9._-]", "-", path.stem)

    def decode() -> Dataset:
        return assemble(title, *join(title, *read_npz(path)))

    return load_or_decode(title, None, [path], home / "cache", decode)
