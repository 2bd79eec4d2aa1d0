"""From new images to what a trained network sees: the data set's size first, then what evaluation crops or pads."""

from __future__ import annotations

import re
from typing import NamedTuple

from dptrain.data.augment import Pipeline
from dptrain.errors import CheckpointError, UsageError
from dptrain.run.facts import RunFacts
from dptrain.types import U8

#: Height and width of the sets that have one of their own; others say it in their name.
_SIZES = {
    "mnist": (28, 28),
    "mnist-kaggle": (28, 28),
    "fashion-mnist": (28, 28),
    "fashion-mini": (28, 28),
    "cifar10": (32, 32),
    "cifar100": (32, 32),
    "shapes32": (32, 32),
    "sfddd": (48, 64),
    "gtsrb": (32, 32),
    "tiny-imagenet": (64, 64),
}


class Inputs(NamedTuple):
    """How images are prepared for the network of a run."""

    shape: tuple[int, int, int]  #: (h, w, c) an image file is brought to, as the data set's own were
    pipeline: Pipeline

    def seen(self, images: U8) -> U8:
        """(n, *shape) -> what the network sees of them: no augmentation, but its crops (the middle) and padding."""
        return self.pipeline.still(images)


def inputs_of(facts: RunFacts) -> Inputs:
    """Raises CheckpointError where the size of the data set's images cannot be told from the run."""
    data, seen = facts.config.data, facts.data.image
    base = data.dataset.split(":")[0]
    told = re.search(r":([0-9]+)x([0-9]+)(x[13])?$", data.dataset)
    known = (int(told[1]), int(told[2])) if told else _SIZES.get(base, seen[:2])
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
