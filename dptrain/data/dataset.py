"""What is subtracted from pixels and divided by before the network sees them: measured on the training set."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from dptrain.data.augment import Pipeline
from dptrain.errors import DataError, UsageError
from dptrain.kernels import philox
from dptrain.types import F64, I64, U8

_SHOWN = 10  #: classes that a set names where it is printed


class Part(NamedTuple):
    """Images with their labels."""

    images: U8  #: (n, h, w, c), C order
    labels: I64  #: (n,), class numbers
    groups: I64 | None = None  #: (n,), what belongs together and must not be split (one driver's pictures), if known


class Figures(NamedTuple):
    """What takes time to find out about a data set, and is the same for ever."""

    mean: tuple[float, ...]  #: a channel, over the training images, in units of 0 ... 255
    std: tuple[float, ...]  #: population standard deviation; 1 for a constant channel, since it is divided by
    sha256: str  #: over contents, shapes, classes, and groups if any; not over the name, nor the files it came from


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Arrays may be read-only views of a mapped file; nobody writes to them."""

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
        """All that names the set, ready for JSON."""
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
    """Puts a data set together, measuring it unless `figures` are known. Raises DataError for what cannot be one."""
    for part, which in ((train, "training"), (test, "test")):
        if part.images.ndim != 4 or 0 in part.images.shape:
            raise DataError(
                f"{name}: the {which} images have shape {part.images.shape}; (n, h, w, c) is needed, none of them 0"
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
    )


def measure(classes: tuple[str, ...], train: Part, test: Part) -> Figures:
    """Mean, standard deviation and SHA-256. 0.7 s for CIFAR-10 (measured, one core of a 2.4 GHz Xeon)."""
    mean, std = _moments(train.images)
    shapes = [list(train.images.shape), list(test.images.shape)]
    h = hashlib.sha256(json.dumps(["dptrain-dataset-1", list(classes), shapes]).encode())
    for part in (train, test):
        h.update(np.ascontiguousarray(part.images).data)
        h.update(np.ascontiguousarray(part.labels, dtype="<i8").data)
        if part.groups is not None:
            h.update(np.ascontiguousarray(part.groups, dtype="<i8").data)
    return Figures(mean, std, h.hexdigest())


def _moments(images: U8) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Sums of integers, so exact in any order; each result is rounded once (mean) or twice (std)."""
    channels = images.shape[3]
    total, squares = np.zeros(images[0].size, np.int64), np.zeros(images[0].size, np.int64)  # a pixel and channel
    for at in range(0, len(images), 500):  # 500 * 255^2 fits in 32 bits
        block = images[at : at + 500].reshape(-1, total.size)
        total += block.sum(axis=0, dtype=np.int32)
        squares += np.square(block, dtype=np.int32).sum(axis=0, dtype=np.int32)
    n = images.size // channels
    sums = [
        (int(s), int(q)) for s, q in zip(*(a.reshape(-1, channels).sum(axis=0) for a in (total, squares)), strict=True)
    ]
    variances = [(n * q - s * s) / (n * n) for s, q in sums]
    return tuple(s / n for s, _ in sums), tuple(sqrt(v) if v > 0 else 1.0 for v in variances)


_holdout_log = logging.getLogger(__name__)


def hold_out(name: str, classes: tuple[str, ...], part: Part) -> tuple[Part, Part]:
    """Training and test part, in their old order; whole groups where there are groups, else single samples (warned).

    A class that one of the two lacks is warned about, too. Raises DataError where nothing would be left to train on.
    """
    n = part.labels.size
    count = -(-n // 10)
    if part.groups is None:
        order = philox.permutation(0, philox.Domain.HOLD_OUT, 0, n)
        _holdout_log.warning(
            "%s has no test set: a random tenth (%d images) is held out; where pictures are alike (one scene, one "
            "person), the test accuracy will be too good",
            name,
            count,
        )
    else:
        order, count = by_group(part.groups, count, philox.Domain.HOLD_OUT)
    if count >= n:
        raise DataError(f"{name}: {n} images are too few (or of one person only) to hold out a test set")
    train, test = np.sort(order[count:]), np.sort(order[:count])
    for which, taken in (("test", test), ("training", train)):
        warn_of_lost(name, classes, part.labels, taken, which, "give more pictures, or a test set of your own")
    groups = None if part.groups is None else part.groups[train]
    return Part(part.images[train], part.labels[train], groups), Part(part.images[test], part.labels[test])


_LOST_SHOWN = 10  #: classes that a warning names
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Positions in the data set's training part, ascending; none is in both."""

    train: I64
    validation: I64


def split(dataset: Dataset, validation: int, samples: int = 0) -> Split:
    """Sets `validation` samples aside (-1: a tenth, rounded down; 0: none), and takes `samples` of the rest (0: all).

    The rule: validation samples are the first ones of the Philox order with seed 0 in the domain SPLIT, training
    samples the next ones. So every run over the same set has the same ones, a larger split contains a smaller one, and
    sorted or striped files do no harm. Where samples come in groups (one driver's pictures), the order is that of the
    groups, and a group begun is set aside as a whole: nobody is validated on whom it was trained on.
    A class that one of the two lacks is warned about.
    Raises UsageError where nothing, or not `samples`, would be left to train on.
    """
    n = dataset.train_labels.size
    if validation < -1 or validation >= n:
        raise UsageError(
            f"validation is {validation}; {dataset.name} has {n} training samples: "
            f"allowed are 0 ... {n - 1}, or -1 for a tenth"
        )
    count = n // 10 if validation == -1 else validation
    order = philox.permutation(0, philox.Domain.SPLIT, 0, n)
    if dataset.train_groups is not None:
        order, count = by_group(dataset.train_groups, count, philox.Domain.SPLIT)
    rest = order[count:]
    if rest.size == 0 or samples > rest.size:
        raise UsageError(
            f"samples is {samples}: of the {n} training samples of {dataset.name}, {rest.size} are left to train on"
        )
    if count:
        told = (dataset.name, dataset.classes, dataset.train_labels)
        warn_of_lost(*told, order[:count], "validation", "a larger validation split, or more pictures, may have all")
        warn_of_lost(*told, rest, "training", "a smaller validation split, or more pictures, may leave all")
    return Split(train=np.sort(rest[: samples or rest.size]), validation=np.sort(order[:count]))


def warn_of_lost(name: str, classes: tuple[str, ...], labels: I64, taken: I64, which: str, remedy: str) -> None:
    """One warning where the samples `taken` have none of a class that is among `labels`."""
    lost = [classes[label] for label in np.setdiff1d(labels, labels[taken])]
    if not lost:
        return
    more = f" and {len(lost) - _SHOWN} more classes" if len(lost) > _LOST_SHOWN else ""
    _log.warning(
        "%s: the %s set (%d image%s) has none of %s%s: %s; %s",
        name,
        which,
        taken.size,
        "" if taken.size == 1 else "s",
        ", ".join(map(repr, lost[:_LOST_SHOWN])),
        more,
        "they cannot be learned" if which == "training" else "its accuracy says nothing about them",
        remedy,
    )


def by_group(groups: I64, count: int, domain: int) -> tuple[I64, int]:
    """Positions ordered group by group, the groups in Philox order; and `count` rounded up to whole groups."""
    names = np.unique(groups)
    shuffled = names[philox.permutation(0, domain, 1, names.size)]
    order = np.concatenate([np.flatnonzero(groups == name) for name in shuffled])
    ends = np.cumsum([0, *(int((groups == name).sum()) for name in shuffled)])
    return order, int(ends[np.searchsorted(ends, count)])


_BLOCK = 500  #: images: 500 * 255 fits in 32 bits
_DIGITS = 4  #: of a mean image, which every checkpoint holds in full


class Standard(NamedTuple):
    """Both in units of 0 ... 255, and what the network subtracts from an image after it is augmented and cut."""

    mean: tuple[float, ...]  #: one a channel; or an image (h, w, c) in C order
    std: tuple[float, ...]  #: one a channel


def find_standard(dataset: Dataset, pipeline: Pipeline, how: str) -> Standard:
    """how: "channel", mean and deviation of each; "mean-image", the mean of every pixel, and one deviation of all."""
    if how == "channel":
        return Standard(tuple(dataset.mean.tolist()), tuple(dataset.std.tolist()))
    square = np.square(dataset.std) + np.square(dataset.mean)  # exact enough: of a few channels
    std = sqrt(float(square.mean() - np.square(dataset.mean.mean())))
    return Standard(_mean_image(dataset, pipeline), (std,) * dataset.mean.size)


def _mean_image(dataset: Dataset, pipeline: Pipeline) -> tuple[float, ...]:
    """Of the training images as evaluation sees them. Sums of integers, so exact in any order; rounded once."""
    total = np.zeros(pipeline.output(dataset.image_shape), np.int64)
    for at in range(0, len(dataset.train_images), _BLOCK):
        total += pipeline.still(dataset.train_images[at : at + _BLOCK]).sum(axis=0, dtype=np.int32)
    return tuple(round(pixel / len(dataset.train_images), _DIGITS) for pixel in total.reshape(-1).tolist())
