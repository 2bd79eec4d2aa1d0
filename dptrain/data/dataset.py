"""A data set in memory: its arrays, its SHA-256, its mean and standard deviation, and which images are held back.

Images are held back for validation, and for a test part if the files have none: always the same ones.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from dptrain.errors import DataError, UsageError
from dptrain.kernels import philox
from dptrain.types import F64, I64, U8

_SHOWN = 10  #: classes that are named when a data set is printed, and in a warning
_BLOCK = 500  #: images: 500 * 255^2 fits in 32 bits
_FEW = 2  #: images of a class that may be equal without a warning
_NO_TEXT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_log = logging.getLogger(__name__)


def is_one_line(name: str) -> bool:
    """Whether the name of a class can be written to every file: UTF-8 text in one line."""
    return not _NO_TEXT.search(name)


class Part(NamedTuple):
    """Images with their labels."""

    images: U8  #: (n, h, w, c), C order
    labels: I64  #: (n,), class numbers
    groups: I64 | None = None  #: (n,), images of one group (one driver) are never split, if known
    validation: int = 0  #: so many of the last images are for validation; 0: validation images are drawn


class Figures(NamedTuple):
    """What is measured once per data set."""

    mean: tuple[float, ...]  #: per channel, over the training images, in units of 0 ... 255
    std: tuple[float, ...]  #: population standard deviation; 1 for a constant channel, since pixels are divided by it
    sha256: str  #: of contents, shapes, classes and groups; not of the name, nor of the files it came from


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Training and test images. Its arrays may be read-only views of a mapped file."""

    name: str
    classes: tuple[str, ...]
    train_images: U8  #: (n, h, w, c)
    train_labels: I64  #: (n,)
    test_images: U8
    test_labels: I64
    mean: F64  #: (c,) as in Figures
    std: F64  #: (c,)
    sha256: str
    train_groups: I64 | None = None  #: (n,) as in Part
    validation: int = 0  #: of the training images, as in Part

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        size = f"{self.train_labels.size:,} + {self.test_labels.size:,} images of {height}x{width}x{channels}"
        shown = ", ".join(self.classes[:_SHOWN]) + (", ..." if len(self.classes) > _SHOWN else "")
        return f"Dataset({self.name!r}: {size}, {len(self.classes)} classes: {shown})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, c)."""
        h, w, c = self.train_images.shape[1:]
        return h, w, c

    def manifest(self) -> dict[str, Any]:
        """What identifies the data set, ready for JSON."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "classes": list(self.classes),
            "image_shape": list(self.image_shape),
            "train": int(self.train_labels.size),
            "test": int(self.test_labels.size),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }


def assemble(name: str, classes: tuple[str, ...], train: Part, test: Part, figures: Figures | None = None) -> Dataset:
    """Checks the parts and makes a data set of them; measures it unless `figures` are given. Raises DataError."""
    for part, which in ((train, "training"), (test, "test")):
        if part.images.ndim != 4 or 0 in part.images.shape:
            raise DataError(
                f"{name}: the {which} images have shape {part.images.shape}; (n, h, w, c) is needed, with no 0"
            )
        if part.labels.shape != part.images.shape[:1]:
            raise DataError(f"{name}: {part.images.shape[0]} {which} images, but {part.labels.size} labels")
        if part.groups is not None and part.groups.shape != part.labels.shape:
            raise DataError(f"{name}: {part.labels.size} {which} labels, but {part.groups.size} groups")
        if part.labels.min() < 0 or part.labels.max() >= len(classes):
            wrong = part.labels[(part.labels < 0) | (part.labels >= len(classes))][0]
            raise DataError(f"{name}: a {which} label is {wrong}; there are classes 0 ... {len(classes) - 1}")
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{name}: training images are {train.images.shape[1:]}, test images {test.images.shape[1:]} (h, w, c)"
        )
    figures = figures or measure(classes, train, test)
    return Dataset(
        name=name,
        classes=classes,
        train_images=train.images,
        train_labels=train.labels,
        test_images=test.images,
        test_labels=test.labels,
        mean=np.array(figures.mean),
        std=np.array(figures.std),
        sha256=figures.sha256,
        train_groups=train.groups,
        validation=train.validation,
    )


def measure(classes: tuple[str, ...], train: Part, test: Part) -> Figures:
    """Mean, standard deviation and SHA-256. 0.7 s for CIFAR-10 (measured, one core of a 2.4 GHz Xeon)."""
    mean, std = _moments(train.images)
    shapes = [list(train.images.shape), list(test.images.shape)]
    given = [train.validation] if train.validation else []
    h = hashlib.sha256(json.dumps(["dptrain-dataset-1", list(classes), shapes, *given]).encode())
    for part in (train, test):
        h.update(np.ascontiguousarray(part.images).data)
        h.update(np.ascontiguousarray(part.labels, dtype="<i8").data)
        if part.groups is not None:
            h.update(np.ascontiguousarray(part.groups, dtype="<i8").data)
    return Figures(mean, std, h.hexdigest())


def _moments(images: U8) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, from sums of integers: exact in any order, rounded once or twice."""
    channels = images.shape[3]
    total, squares = np.zeros(images[0].size, np.int64), np.zeros(images[0].size, np.int64)  # per pixel and channel
    for at in range(0, len(images), _BLOCK):
        block = images[at : at + _BLOCK].reshape(-1, total.size)
        total += block.sum(axis=0, dtype=np.int32)
        squares += np.square(block, dtype=np.int32).sum(axis=0, dtype=np.int32)
    n = images.size // channels
    sums = [
        (int(s), int(q)) for s, q in zip(*(a.reshape(-1, channels).sum(axis=0) for a in (total, squares)), strict=True)
    ]
    variances = [(n * q - s * s) / (n * n) for s, q in sums]
    return tuple(s / n for s, _ in sums), tuple(sqrt(v) if v > 0 else 1.0 for v in variances)


def hold_out(name: str, classes: tuple[str, ...], part: Part) -> tuple[Part, Part]:
    """Training and test part of a data set that has no test part: a tenth is held out, always the same images.

    Groups are held out whole. Without groups, single images are held out, and a warning says so. Another warning names
    the classes that one of the two parts lacks. Raises DataError if nothing would be left to train on.
    """
    n = part.labels.size
    count = -(-n // 10)
    if part.groups is None:
        order = philox.permutation(0, philox.Domain.HOLD_OUT, 0, n)
        _log.warning(
            "%s has no test set: a random tenth (%d image%s) is held out; if images are alike (one scene, one person), "
            "the test accuracy will be too good",
            name,
            count,
            "" if count == 1 else "s",
        )
    else:
        order, count = by_group(part.groups, count, philox.Domain.HOLD_OUT)
    if count >= n:
        raise DataError(f"{name}: {n} images are too few (or all of one group) to hold out a test set")
    train, test = np.sort(order[count:]), np.sort(order[:count])
    for which, taken in (("test", test), ("training", train)):
        warn_of_lost(name, classes, part.labels, taken, which, "give more images, or your own test set")
    groups = None if part.groups is None else part.groups[train]
    return Part(part.images[train], part.labels[train], groups), Part(part.images[test], part.labels[test])


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Positions in the data set's training part, ascending; no position is in both."""

    train: I64
    validation: I64


def split(dataset: Dataset, validation: int, samples: int = 0) -> Split:
    """Takes `validation` images (-1: a tenth, rounded down; 0: none) for validation, `samples` of the rest (0: all).

    The images are shuffled by Philox with seed 0 in the domain SPLIT. The first ones are for validation, the next ones
    for training. So every run over the same data set has the same split, a larger split contains a smaller one, and the
    order of the files does not matter. If images come in groups (one driver), the groups are shuffled, and whole groups
    are taken: no driver is in both parts. A warning names the classes that one of the two lacks.
    Raises UsageError if fewer than `samples` images, or none, would be left to train on.
    """
    n = dataset.train_labels.size
    if dataset.validation:
        return _own_split(dataset, validation, samples)
    if validation < -1 or validation >= n:
        raise UsageError(
            f"validation is {validation}; {dataset.name} has {n} training images: "
            f"allowed are 0 ... {n - 1}, or -1 for a tenth"
        )
    count = n // 10 if validation == -1 else validation
    order = philox.permutation(0, philox.Domain.SPLIT, 0, n)
    if dataset.train_groups is not None:
        order, count = by_group(dataset.train_groups, count, philox.Domain.SPLIT)
    rest = order[count:]
    if rest.size == 0 or samples > rest.size:
        raise UsageError(
            f"samples is {samples}: of the {n} training images of {dataset.name}, {rest.size} are left to train on"
        )
    if count:
        known = (dataset.name, dataset.classes, dataset.train_labels)
        warn_of_lost(*known, order[:count], "validation", "a larger validation split, or more images, may have all")
        warn_of_lost(*known, rest, "training", "a smaller validation split, or more images, may leave all")
    return Split(train=np.sort(rest[: samples or rest.size]), validation=np.sort(order[:count]))


def _own_split(dataset: Dataset, validation: int, samples: int) -> Split:
    """As `split`, of a data set with validation images of its own: `validation` -1: these; 0: none."""
    n, own = dataset.train_labels.size, dataset.validation
    if validation not in (-1, 0):
        raise UsageError(
            f"validation is {validation}; {dataset.name} has {own} validation images of its own: "
            "allowed are -1 for these, or 0 for none"
        )
    if samples > n - own:
        raise UsageError(f"samples is {samples}: {dataset.name} has {n - own} images to train on")
    order = philox.permutation(0, philox.Domain.SPLIT, 0, n - own)
    held = np.arange(n - own, n if validation else n - own)
    if held.size:
        known = (dataset.name, dataset.classes, dataset.train_labels)
        warn_of_lost(*known, held, "validation", "give more validation images")
    return Split(np.sort(order[: samples or n - own]), held)


def warn_of_lost(name: str, classes: tuple[str, ...], labels: I64, taken: I64, which: str, remedy: str) -> None:
    """Logs one warning if the images `taken` have none of a class that is among `labels`."""
    lost = [classes[label] for label in np.setdiff1d(labels, labels[taken])]
    if not lost:
        return
    more = f" and {len(lost) - _SHOWN} more classes" if len(lost) > _SHOWN else ""
    images = f"{taken.size} image{'' if taken.size == 1 else 's'}"
    effect = "they cannot be learned" if which == "training" else "its accuracy says nothing about them"
    shown = ", ".join(map(repr, lost[:_SHOWN]))
    warn_once(f"{name}: the {which} set ({images}) has none of {shown}{more}: {effect}; {remedy}")


@lru_cache(maxsize=256)
def warn_once(text: str) -> None:
    """Logs a warning, once per process: every thread opens the data set."""
    _log.warning("%s", text)


def warn_of_repetition(name: str, classes: tuple[str, ...], part: Part) -> None:
    """Logs one warning for classes whose images are all the same: something was lost when they were read."""
    same = []
    for label, title in enumerate(classes):
        mine = np.flatnonzero(part.labels == label)
        if mine.size > _FEW and all(np.array_equal(part.images[mine[0]], part.images[at]) for at in mine[1:]):
            same.append(title)
    if same:
        more = f" and {len(same) - _SHOWN} more classes" if len(same) > _SHOWN else ""
        _log.warning(
            "%s: all images of %s%s are the same picture: look at them with `dptrain data preview`",
            name,
            ", ".join(map(repr, same[:_SHOWN])),
            more,
        )


def warn_of_overlap(name: str, train: Part, test: Part) -> None:
    """Logs one warning if images of the test part are training images too, pixel by pixel."""
    known = {_digest(image) for image in train.images}
    count = sum(_digest(image) in known for image in test.images)
    if count:
        _log.warning("%s: %d of %d test images are training images as well", name, count, len(test.images))


def _digest(image: U8) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def by_group(groups: I64, count: int, domain: int) -> tuple[I64, int]:
    """Positions ordered group by group, the groups in Philox order; and `count` rounded up to whole groups."""
    names = np.unique(groups)
    shuffled = names[philox.permutation(0, domain, 1, names.size)]
    order = np.concatenate([np.flatnonzero(groups == name) for name in shuffled])
    ends = np.cumsum([0, *(int((groups == name).sum()) for name in shuffled)])
    return order, int(ends[np.searchsorted(ends, count)])
