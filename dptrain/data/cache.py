"""Decoded data sets on disk: slow formats are read once, afterwards one file is mapped.

<data folder>/cache/<name>-<content>.u8    labels (int64), images (each training, then test), and training groups
<data folder>/cache/<name>-<sources>.json  shapes, size and time of the other file, mean, standard deviation, SHA-256

The first is named by the SHA-256 of its contents and has the time of its newest source. So processes that decode at the
same time write the same file; each renames its finished file into place, and the last one wins.

The second is named by what the sources are: path, size, times and inode of each, since a copy that keeps size and time
of modification (cp -p, tar, rsync) has another inode or time of change; where they are small, also by their content.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dptrain.atomic import write_atomically
from dptrain.data.dataset import Dataset, Figures, Part, assemble
from dptrain.errors import DataError
from dptrain.types import U8

_FORMAT = 2  #: 2: transparent pictures are laid on white
_FEW_BYTES = 32 << 20  #: sources of up to so many bytes are compared by content: 30 ms
_log = logging.getLogger(__name__)


def load_or_decode(
    name: str, classes: tuple[str, ...], sources: list[Path], directory: Path, decode: Callable[[], tuple[Part, Part]]
) -> Dataset:
    """The data set of these source files (all exist), mapped from `directory`; decoded into it first if necessary.

    If `directory` cannot be written, the data set stays in this process's memory, and one warning is logged.
    """
    manifest = _manifest(name, classes, sources, directory)
    found = _load(name, classes, manifest)
    if found is not None:
        return found
    train, test = decode()
    dataset = assemble(name, classes, train, test)
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


def _manifest(name: str, classes: tuple[str, ...], sources: list[Path], directory: Path) -> Path:
    return directory / f"{name}-{_key(classes, sources)}.json"


def _key(classes: tuple[str, ...], sources: list[Path]) -> str:
    folders = {path.parent: str(path.parent.resolve()) for path in sources}  # resolving 100,000 paths takes seconds
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


def _load(name: str, classes: tuple[str, ...], manifest: Path) -> Dataset | None:
    """The cached data set; None if there is none, or if it is not what the manifest says."""
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
        return assemble(name, classes, train, test, figures)
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
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        "sha256": dataset.sha256,
    }
    write_atomically(manifest, json.dumps(entry, indent=1).encode(), mtime_ns=newest)
