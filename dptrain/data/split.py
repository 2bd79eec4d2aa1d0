"""Which images are held back: for a test part, if the files have none, and for validation. Always the same ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from dptrain.data.dataset import Dataset, Part
from dptrain.errors import DataError, UsageError
from dptrain.kernels import philox
from dptrain.types import I64

_SHOWN = 10  #: classes that a warning names
_FEW = 2  #: images of a class that may be equal without a warning
_log = logging.getLogger(__name__)


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
            "%s has no test set: a random tenth (%d images) is held out; if images are alike (one scene, one person), "
            "the test accuracy will be too good",
            name,
            count,
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


def warn_of_lost(name: str, classes: tuple[str, ...], labels: I64, taken: I64, which: str, remedy: str) -> None:
    """Logs one warning if the images `taken` have none of a class that is among `labels`."""
    lost = [classes[label] for label in np.setdiff1d(labels, labels[taken])]
    if not lost:
        return
    more = f" and {len(lost) - _SHOWN} more classes" if len(lost) > _SHOWN else ""
    _log.warning(
        "%s: the %s set (%d image%s) has none of %s%s: %s; %s",
        name,
        which,
        taken.size,
        "" if taken.size == 1 else "s",
        ", ".join(map(repr, lost[:_SHOWN])),
        more,
        "they cannot be learned" if which == "training" else "its accuracy says nothing about them",
        remedy,
    )


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


def by_group(groups: I64, count: int, domain: int) -> tuple[I64, int]:
    """Positions ordered group by group, the groups in Philox order; and `count` rounded up to whole groups."""
    names = np.unique(groups)
    shuffled = names[philox.permutation(0, domain, 1, names.size)]
    order = np.concatenate([np.flatnonzero(groups == name) for name in shuffled])
    ends = np.cumsum([0, *(int((groups == name).sum()) for name in shuffled)])
    return order, int(ends[np.searchsorted(ends, count)])
