"""Which training samples are set aside for validation: a pure function of two counts, not of the seed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from dptrain.data.dataset import Dataset
from dptrain.errors import UsageError
from dptrain.kernels import philox
from dptrain.types import I64

_SHOWN = 10  #: classes that a warning names
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
    order = philox.permutation(0, philox.domains.SPLIT, 0, n)
    if dataset.train_groups is not None:
        order, count = by_group(dataset.train_groups, count, philox.domains.SPLIT)
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


def by_group(groups: I64, count: int, domain: int) -> tuple[I64, int]:
    """Positions ordered group by group, the groups in Philox order; and `count` rounded up to whole groups."""
    names = np.unique(groups)
    shuffled = names[philox.permutation(0, domain, 1, names.size)]
    order = np.concatenate([np.flatnonzero(groups == name) for name in shuffled])
    ends = np.cumsum([0, *(int((groups == name).sum()) for name in shuffled)])
    return order, int(ends[np.searchsorted(ends, count)])
