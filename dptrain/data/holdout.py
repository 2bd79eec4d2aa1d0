"""A test part for sets whose files bring none: a tenth, the same one every time. The validation split is split.py's."""

from __future__ import annotations

import logging

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.split import by_group, warn_of_lost
from dptrain.errors import DataError
from dptrain.kernels import philox

_log = logging.getLogger(__name__)


def hold_out(name: str, classes: tuple[str, ...], part: Part) -> tuple[Part, Part]:
    """Training and test part, in their old order; whole groups where there are groups, else single samples (warned).

    A class that one of the two lacks is warned about, too. Raises DataError where nothing would be left to train on.
    """
    n = part.labels.size
    count = -(-n // 10)
    if part.groups is None:
        order = philox.permutation(0, philox.domains.HOLD_OUT, 0, n)
        _log.warning(
            "%s has no test set: a random tenth (%d images) is held out; where pictures are alike (one scene, one "
            "person), the test accuracy will be too good",
            name,
            count,
        )
    else:
        order, count = by_group(part.groups, count, philox.domains.HOLD_OUT)
    if count >= n:
        raise DataError(f"{name}: {n} images are too few (or of one person only) to hold out a test set")
    train, test = np.sort(order[count:]), np.sort(order[:count])
    for which, taken in (("test", test), ("training", train)):
        warn_of_lost(name, classes, part.labels, taken, which, "give more pictures, or a test set of your own")
    groups = None if part.groups is None else part.groups[train]
    return Part(part.images[train], part.labels[train], groups), Part(part.images[test], part.labels[test])
