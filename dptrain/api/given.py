"""Images and labels that a Python program gives to `fit`: they become a stored data set with a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from dptrain.data.arrays import PLAIN, Reading, is_number, labelled
from dptrain.data.catalog import keep
from dptrain.data.dataset import Dataset, assemble
from dptrain.data.parts import Given, join
from dptrain.errors import UsageError

_TITLE = "your data"  #: of the data set, in warnings


class Parts(NamedTuple):
    """The arguments of `fit` about images, as the user gave them."""

    data: object  #: images with `labels`, or an object that gives (image, label), or a Dataset
    labels: object = None
    test: object = None
    validation: object = None  #: a share, a number of images, or images with their labels
    class_names: object = None
    reading: Reading = PLAIN


def names_recipe(data: object) -> TypeGuard[str | Path]:
    """Whether the first argument of `fit` is a recipe and not images."""
    return isinstance(data, str | Path)


def store(parts: Parts, home: Path) -> dict[str, str]:
    """Stores the images below the data folder `home`. Returns the settings `dataset` and, if given, `validation`.

    Raises UsageError and DataError.
    """
    if isinstance(parts.data, Dataset):
        for name in ("labels", "test", "class_names"):
            if getattr(parts, name) is not None:
                raise UsageError(f"{name}: {parts.data!r} has its own")
        if parts.reading != PLAIN:
            raise UsageError(f"pixel_range and layout: {parts.data!r} has its own")
        dataset = parts.data
    else:
        dataset = _assembled(parts)
    settings = {}
    if is_number(parts.validation):
        settings["validation"] = _count(parts.validation, dataset.train_labels.size)
    elif dataset.validation:
        settings["validation"] = "-1"  # these, whatever a recipe says
    elif isinstance(parts.data, Dataset) and parts.validation is not None:
        raise UsageError("validation: of a Dataset, give a share such as 0.1 or a number of images")
    return settings | {"dataset": keep(dataset, home)}


def _assembled(parts: Parts) -> Dataset:
    train = labelled(parts.data, parts.labels, "x" if parts.labels is not None else "data", parts.reading)
    for name in ("test", "validation"):
        value = getattr(parts, name)
        if isinstance(value, Dataset):
            raise UsageError(f"{name}: say which images of the Dataset: {name}=(data.test_images, data.test_labels)")
        if isinstance(value, bool | np.bool_ | str):
            share = "a share such as 0.1, a number of images, or " if name == "validation" else ""
            raise UsageError(f"{name} = {value!r}: {share}(x, y) is needed")
    test = None if parts.test is None else labelled(parts.test, None, "test", parts.reading)
    own = parts.validation is not None and not is_number(parts.validation)
    validation = labelled(parts.validation, None, "validation", parts.reading) if own else None
    return assemble(_TITLE, *join(_TITLE, Given(train, test, validation), parts.class_names))


def _count(validation: float | np.integer[Any] | np.floating[Any], images: int) -> str:
    """The number of images of a share; a number stays as it is. Raises UsageError."""
    # as text, since 0.7 of float32 is a little less than 0.7
    share = float(str(validation)) if isinstance(validation, np.floating) else float(validation)
    if 0.0 < share < 1.0:
        return str(max(1, int(share * images)))
    if not isinstance(validation, int | np.integer):
        raise UsageError(f"validation = {validation}: a share is between 0 and 1, such as 0.1")
    return str(validation)
