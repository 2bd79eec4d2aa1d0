"""From new images to what a trained network sees: the data set's size first, then what evaluation crops or pads."""

from __future__ import annotations

import re
from typing import NamedTuple

from dptrain.data.augment import Pipeline
from dptrain.data.catalog import find_files
from dptrain.errors import CheckpointError, UsageError
from dptrain.runs.manifest import RunFacts
from dptrain.settings import DataConfig
from dptrain.types import U8


class Form(NamedTuple):
    """What the images of a data set are like."""

    height: int
    width: int
    channels: int
    classes: int


_GREY_28, COLOUR_32 = Form(28, 28, 1, 10), Form(32, 32, 3, 10)
#: Of the sets that have a name; another size is said behind it.
_FORMS = {
    "mnist": _GREY_28,
    "mnist-kaggle": _GREY_28,
    "fashion-mnist": _GREY_28,
    "fashion-mini": _GREY_28,
    "cifar10": COLOUR_32,
    "cifar100": Form(32, 32, 3, 100),
    "cifar100:coarse": Form(32, 32, 3, 20),
    "shapes32": COLOUR_32,
    "sfddd": Form(48, 64, 3, 10),
    "gtsrb": Form(32, 32, 3, 43),
    "tiny-imagenet": Form(64, 64, 3, 200),
}
_SAID = re.compile(r":([0-9]+)x([0-9]+)(?:x([13]))?$")


class Inputs(NamedTuple):
    """How images are prepared for the network of a run."""

    shape: tuple[int, int, int]  #: (h, w, c) an image file is brought to, as the data set's own were
    pipeline: Pipeline

    def seen(self, images: U8) -> U8:
        """(n, *shape) -> what the network sees of them: no augmentation, but its crops (the middle) and padding."""
        return self.pipeline.still(images)


def form_of(data: DataConfig, data_dir: str) -> Form:
    """What a network sees of a data set, and its classes, without reading it: one that has a name need not be here.

    Raises UsageError for a name that does not exist, DataError where a folder does not.
    """
    base = data.dataset.partition(":")[0]
    form = _FORMS.get(data.dataset) or _FORMS.get(base)
    if form is None:
        form = COLOUR_32._replace(classes=len(find_files(data.dataset, data_dir).classes))
    if said := _SAID.search(data.dataset):
        form = form._replace(height=int(said[1]), width=int(said[2]), channels=int(said[3] or form.channels))
    shape = (form.height, form.width, form.channels)
    return Form(*Pipeline.parse(data.augment, shape).output(shape), form.classes)


def inputs_of(facts: RunFacts) -> Inputs:
    """Raises CheckpointError where the size of the data set's images cannot be told from the run."""
    data, seen = facts.config.data, facts.data.image
    base = data.dataset.split(":")[0]
    said = _SAID.search(data.dataset)
    known = (int(said[1]), int(said[2])) if said else _FORMS[base][:2] if base in _FORMS else seen[:2]
    for size in (known, seen[:2]):
        try:
            pipeline = Pipeline.parse(data.augment, (*size, seen[2]))
        except UsageError:  # a window, say, that is larger than the image
            continue
        if pipeline.output((*size, seen[2])) == seen:
            return Inputs((*size, seen[2]), pipeline)
    raise CheckpointError(
        f"the network sees {seen[0]}x{seen[1]} pixels, which {','.join(data.augment)} does not make of "
        f"{known[0]}x{known[1]}: the size of the images of {base} is not known"
    )
