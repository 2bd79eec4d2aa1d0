"""From (step, shard) to images and labels; workers and augmenters use the same functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.data.augment import VIEWS
from dptrain.data.catalog import open_dataset
from dptrain.data.dataset import Dataset, Standard, find_standard
from dptrain.data.pipeline import Pipeline
from dptrain.data.sampler import Sampler
from dptrain.data.split import Split, split
from dptrain.errors import UsageError
from dptrain.settings import DataConfig, TrainingConfig
from dptrain.types import I64, U8

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class ShardSource:
    """The images of a run. Every method is a pure function of its arguments; threads may share one source."""

    dataset: Dataset
    parts: Split  #: positions in the data set's training part
    sampler: Sampler  #: its numbers are positions in parts.train
    pipeline: Pipeline
    normalise: str = "channel"  #: see find_standard

    def __post_init__(self) -> None:
        if self.sampler.samples != self.parts.train.size:
            raise ValueError(f"sampler over {self.sampler.samples} images, but there are {self.parts.train.size}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of what the network sees: that of the data set, unless the pipeline pads or crops."""
        return self.pipeline.output(self.dataset.image_shape)

    @property
    def standard(self) -> Standard:
        """The normalisation. A mean image is computed at every call."""
        return find_standard(self.dataset, self.pipeline, self.normalise)

    def images(self, step: int, shard: int) -> tuple[U8, I64]:
        """One shard of training, augmented: new arrays (n, h, w, c) and (n,)."""
        ids = self._ids(step, shard)
        x = self.dataset.train_images[ids]
        if self.pipeline.operations:
            x = self.pipeline.apply(x, ids, self.sampler.seed, self.sampler.epoch_of(step))
        return x, self.dataset.train_labels[ids]

    def labels(self, step: int, shard: int) -> I64:
        """Only the labels, for images that an augmenter has prepared."""
        return self.dataset.train_labels[self._ids(step, shard)]

    def evaluation(self, name: str, start: int, stop: int, view: str = VIEWS[0]) -> tuple[U8, I64]:
        """Images [start, stop) of a split, not augmented: new arrays (n, h, w, c) and (n,).

        view: one of pipeline.views. If training crops, evaluation sees the center or a corner.
        """
        size = self.size(name)
        if not 0 <= start < stop <= size:
            raise ValueError(f"images {start} ... {stop} of {name!r} are asked for; it has {size}")
        if name == "test":
            x, y = self.dataset.test_images[start:stop].copy(), self.dataset.test_labels[start:stop].copy()
        else:
            ids = (self.parts.train if name == "train" else self.parts.validation)[start:stop]
            x, y = self.dataset.train_images[ids], self.dataset.train_labels[ids]
        return self.pipeline.still(x, view), y

    def split_labels(self, name: str) -> I64:
        """The labels of a whole split."""
        if name == "test":
            return self.dataset.test_labels
        return self.dataset.train_labels[self.parts.train if name == "train" else self.parts.validation]

    def size(self, name: str) -> int:
        """The number of images of a split: "train", "validation" or "test"."""
        if name not in SPLITS:
            raise UsageError(f"there is no split {name!r}: there are {', '.join(SPLITS)}")
        sizes = (self.parts.train.size, self.parts.validation.size, self.dataset.test_labels.size)
        return dict(zip(SPLITS, sizes, strict=True))[name]

    def one_of_each(self, count: int) -> I64:
        """Numbers of training images to show: the first of every class, then the second, until there are `count`."""
        labels = self.dataset.train_labels[self.parts.train]
        turns = np.empty(labels.size, np.int64)
        for label in range(len(self.dataset.classes)):
            mine = labels == label
            turns[mine] = np.arange(int(mine.sum()))
        return self.parts.train[np.lexsort((labels, turns))[:count]]

    def _ids(self, step: int, shard: int) -> I64:
        return self.parts.train[self.sampler.shard(step, shard)]


def open_source(data: DataConfig, training: TrainingConfig, data_dir: str) -> ShardSource:
    """Opens the data set of a run and prepares its split, order and augmentation. Raises UsageError and DataError."""
    dataset = open_dataset(data.dataset, data_dir)
    parts = split(dataset, data.validation, data.samples)
    pipeline = Pipeline.parse(data.augment, dataset.image_shape).fit(dataset.train_images)
    return ShardSource(
        dataset=dataset,
        parts=parts,
        sampler=Sampler(parts.train.size, training.batch_size, training.shard_size, training.seed, data.replacement),
        pipeline=pipeline,
        normalise=data.normalise,
    )
