"""From new images to what a trained network sees: resized as the data set's own images, then cropped and padded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dptrain.data import catalog
from dptrain.data.catalog import ARRAY, NPZ, parse_array
from dptrain.data.datasets import DATASETS
from dptrain.data.descriptor import Form
from dptrain.data.folder import FOLDER, Wanted, parse_folder
from dptrain.data.imagefile import WHITE, Picture, read_images
from dptrain.data.shards import Pipeline
from dptrain.errors import CheckpointError, UsageError
from dptrain.runs.manifest import RunFacts
from dptrain.settings import DataConfig
from dptrain.types import U8


class Inputs(NamedTuple):
    """How images are prepared for the network of a run."""

    shape: tuple[int, int, int]  #: (h, w, c) to which an image file is resized, as the data set's own were
    pipeline: Pipeline
    fill: int = WHITE  #: what transparent pixels of an image file are laid on

    def read(self, paths: Sequence[Path]) -> U8:
        """(n, *shape): image files, read as the images of the data set were. Raises DataError."""
        return read_images([Picture(path, fill=self.fill) for path in paths], self.shape)

    def seen(self, images: U8) -> U8:
        """(n, *shape) -> what the network sees of them: center crop and padding, no augmentation."""
        return self.pipeline.still(images)


def form_of(data: DataConfig, data_dir: str) -> Form:
    """What a network sees of a data set, and its classes. Reads no image; only a `folder:PATH` has to be there.

    Raises UsageError for a name that does not exist, DataError if a folder does not.
    """
    form = catalog.form_of(data.dataset, data_dir)
    return Form(*Pipeline.parse(data.augment, form.shape).output(form.shape), form.classes)


def inputs_of(facts: RunFacts) -> Inputs:
    """Raises CheckpointError if the size of the data set's images does not follow from the run."""
    data, seen = facts.config.data, facts.data.image
    official, fill = _official(data.dataset, seen)
    if data.dataset.startswith(f"{NPZ}:") and {spec.partition(":")[0] for spec in data.augment} & {"window", "pad"}:
        raise CheckpointError(
            f"the run does not say what size the images of {data.dataset} had before {','.join(data.augment)}: "
            "give arrays or a folder instead of the file to train a network that predicts"
        )
    for height, width in (official[:2], seen[:2]):  # the files of a named data set may have been others
        shape = (height, width, seen[2])
        try:
            pipeline = Pipeline.parse(data.augment, shape)
        except UsageError:  # a window, for example, that is larger than the image
            continue
        if pipeline.output(shape) == seen:
            return Inputs(shape, pipeline, fill)
    raise CheckpointError(
        f"the network sees {seen[0]}x{seen[1]} pixels, but {','.join(data.augment)} does not make that of "
        f"{official[0]}x{official[1]}: the size of the images of {data.dataset} is not known"
    )


def _official(dataset: str, seen: tuple[int, int, int]) -> Wanted:
    """How the data set's images are read; (h, w, c) is `seen` if this version does not know the data set."""
    base, _, option = dataset.partition(":")
    if base == FOLDER:
        return parse_folder(option)[1]
    if base == ARRAY:
        return Wanted(parse_array(option)[1])
    return Wanted(DATASETS[base].form_of(option).shape if base in DATASETS else seen)
