"""The parts that a user gives, for training, test and validation -> one data set with one numbering of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dptrain.data.arrays import Labelled, with_article
from dptrain.data.dataset import Part, hold_out, is_one_line, warn_of_overlap, warn_of_repetition
from dptrain.errors import DataError

_SHOWN = 10  #: classes that an error names


def named(parts: Sequence[Labelled], names: object) -> tuple[str, ...]:
    """The names of the classes: as given, else as the first part has them, else numbers. Raises DataError.

    parts: the training part first. Without names, every number up to the largest label must have a training image.
    """
    largest = max(int(part.labels.max()) for part in parts)
    classes = _names(names) or _names(parts[0].classes)
    if classes:
        if largest >= len(classes):
            raise DataError(
                f"y: a label is {largest}, but there are {len(classes)} class names, 0 ... {len(classes) - 1}"
            )
    else:
        present = np.unique(parts[0].labels)
        if present[0] > 0:
            raise DataError(f"y: the smallest label is {present[0]}; labels are numbered from 0: subtract {present[0]}")
        if present.size <= largest:
            missing = int(np.setdiff1d(np.arange(present.size + 1), present)[0])
            raise DataError(
                f"y: labels go up to {largest}, but no training image has label {missing}: number the classes without "
                "a gap, or give class_names"
            )
        classes = tuple(map(str, range(largest + 1)))
    if len(classes) < 2:
        raise DataError("y: all labels are 0: two classes or more are needed")
    return classes


def _names(given: object) -> tuple[str, ...]:
    """Names of classes as a user gives them. Raises DataError."""
    names = given.tolist() if isinstance(given, np.ndarray) else () if given is None else given
    if not isinstance(names, list | tuple):
        raise DataError(f"class_names is {with_article(given)}: a list of texts is needed, one per class")
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise DataError(f"class_names = {list(names)!r}: must be different texts")
    for name in names:
        if not is_one_line(name):
            raise DataError(f"class_names: {str(name)!r}: the name of a class must be UTF-8 text in one line")
    return tuple(map(str, names))


def _renumbered(part: Labelled, what: str, train: Labelled, class_names: tuple[str, ...]) -> Labelled:
    """`part` with the numbers that its classes have in `train`; without names it keeps its own. Raises DataError."""
    if not part.classes or part.classes == train.classes:
        return part
    known = next((names for names in (train.classes, class_names) if set(part.classes) <= set(names)), ())
    if not known:
        wanted = train.classes or class_names
        if not wanted:
            raise DataError(
                f"{what} has names of classes ({_listed(part.classes)}), but the training images have none: "
                "give class_names, in the order of the training labels"
            )
        unknown = [name for name in part.classes if name not in wanted]
        raise DataError(f"{what} has classes that the training images do not have: {_listed(unknown)}")
    if len(set(part.classes)) != len(part.classes) or len(set(known)) != len(known):
        raise DataError(f"{what}: two classes have the same name: {_listed(part.classes)}")
    if part.labels.max() >= len(part.classes):
        raise DataError(f"{what}: a label is {part.labels.max()}, but it has {len(part.classes)} names of classes")
    numbers = np.array([known.index(name) for name in part.classes], np.int64)
    return part._replace(labels=numbers[part.labels], classes=known)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


class Given(NamedTuple):
    """The parts that a user gives."""

    train: Labelled
    test: Labelled | None = None  #: None: a tenth of the training images is held out
    validation: Labelled | None = None  #: None: it is taken from the training images


def join(name: str, given: Given, class_names: object = ()) -> tuple[tuple[str, ...], Part, Part]:
    """The classes, the training part (its last images are those for validation) and the test part. Raises DataError."""
    own, names = given.train.classes, _names(class_names)
    if set(own) == set(names) and own != names:
        raise DataError(f"class_names = {list(names)!r}: the training images have another order: {_listed(own)}")
    given = Given(
        given.train,
        given.test and _renumbered(given.test, "test", given.train, names),
        given.validation and _renumbered(given.validation, "validation", given.train, names),
    )
    others = [part for part in (given.test, given.validation) if part is not None]
    for part, what in ((given.test, "test"), (given.validation, "validation")):
        if part is not None and part.images.shape[1:] != given.train.images.shape[1:]:
            raise DataError(
                f"{what}: its images are {part.images.shape[1:]}, those for training {given.train.images.shape[1:]} "
                "(h, w, c): all must have the same size"
            )
    classes = named([given.train, *others], names)
    train = Part(given.train.images, given.train.labels)
    warn_of_repetition(name, classes, train)
    if given.test is None:
        train, test = hold_out(name, classes, train)
    else:
        test = Part(*given.test[:2])
        warn_of_overlap(name, train, test)
    if given.validation is None:
        return classes, train, test
    images = np.concatenate([train.images, given.validation.images])
    labels = np.concatenate([train.labels, given.validation.labels])
    return classes, Part(images, labels, None, given.validation.labels.size), test
