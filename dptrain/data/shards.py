"""From (step, shard) to images and labels; workers and augmenters use the same functions.

Which images are in which shard of which step (`Sampler`), what augmentation does with them (`Pipeline`, a chain of the
operations of `augment.py`), and what a run sees of its data set (`ShardSource`). All of it is a pure function of the
data set, the settings and the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np

from dptrain.data.augment import OPERATIONS, VIEWS, Crop, CutWindow, Operation, Shape
from dptrain.data.catalog import open_dataset
from dptrain.data.dataset import Dataset, Split, split
from dptrain.errors import UsageError, nearest
from dptrain.kernels import philox
from dptrain.settings import DataConfig, TrainingConfig, uneven
from dptrain.types import I64, U8

SPLITS = ("train", "validation", "test")
_BLOCK = 500  #: images: 500 * 255 fits in 32 bits
_DIGITS = 4  #: of a mean image, which every checkpoint holds in full


def permutation(seed: int, epoch: int, n: int) -> I64:
    """The order of `n` images in an epoch; all are equally likely up to the bias of philox.bounded. A new array."""
    return philox.permutation(seed, philox.Domain.ORDER, epoch, n)


def drawn(seed: int, epoch: int, n: int) -> I64:
    """`n` of `n` images with replacement; all draws are equally likely. A new array."""
    words = philox.words(seed, philox.Domain.ORDER_REPLACEMENT, epoch, 0, n)
    return (words.astype(np.int64) * n) >> 32


@lru_cache(maxsize=4)  # an augmenter a few steps ahead needs two epochs; 50,000 images are 0.4 MB
def _order(seed: int, epoch: int, n: int, rule: Callable[[int, int, int], I64]) -> I64:
    order = rule(seed, epoch, n)
    order.setflags(write=False)
    return order


@dataclass(frozen=True, slots=True)
class Sampler:
    """Divides the order of every epoch into batches, and each batch into shards. Steps and shards count from 0.

    Each image is used exactly once per epoch; with `replacement`, images are drawn at random. The last batch of an
    epoch may have fewer shards, and its last shard fewer images.
    Raises UsageError for sizes that cannot be divided.
    """

    samples: int  #: images of the training set; their numbers are 0 ... samples - 1
    batch_size: int
    shard_size: int
    seed: int
    replacement: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}; it must lie in 0 ... 2^63 - 1")
        if not 1 <= self.samples < 2**31:
            raise UsageError(f"there are {self.samples} training images; at least 1 and fewer than 2^31 are needed")
        if self.shard_size < 1 or self.batch_size < 1:
            raise UsageError(
                f"batch_size is {self.batch_size} and shard_size {self.shard_size}; both must be 1 or more"
            )
        if refusal := uneven(self.batch_size, self.shard_size):
            raise UsageError(refusal)

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch; the last one may be smaller."""
        return -(-self.samples // self.batch_size)

    def epoch_of(self, step: int) -> int:
        """The epoch of the step, from 0."""
        return step // self.steps_per_epoch

    def position(self, step: int) -> int:
        """The position of the step in its epoch, from 0."""
        return step % self.steps_per_epoch

    def shards(self, step: int) -> int:
        """How many shards the step has."""
        first, last = self._range(step)
        return -(-(last - first) // self.shard_size)

    def shard(self, step: int, index: int) -> I64:
        """Numbers of the images of one shard, a read-only view. Raises IndexError if the step has no such shard."""
        if not 0 <= index < self.shards(step):
            raise IndexError(f"step {step} has the shards 0 ... {self.shards(step) - 1}, not {index}")
        first = index * self.shard_size
        return self.batch(step)[first : first + self.shard_size]

    def batch(self, step: int) -> I64:
        """Numbers of the images of the whole step, a read-only view: its shards one after another."""
        first, last = self._range(step)
        rule = drawn if self.replacement else permutation
        return _order(self.seed, self.epoch_of(step), self.samples, rule)[first:last]

    def _range(self, step: int) -> tuple[int, int]:
        if step < 0:
            raise IndexError(f"steps count from 0, not {step}")
        first = self.position(step) * self.batch_size
        return first, min(first + self.batch_size, self.samples)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Operations in order. Without operations, images stay as they are."""

    operations: tuple[Operation, ...] = ()

    @classmethod
    def parse(cls, specs: Sequence[str], image_shape: Shape) -> Pipeline:
        """From specifications such as ("crop:4", "flip"), for images (h, w, c). Raises UsageError."""
        operations = tuple(_parse(spec) for spec in specs)
        shape = image_shape
        for i, operation in enumerate(operations):
            if operation.name in [other.name for other in operations[:i]]:
                raise UsageError(f"augmentation {operation.name!r} is given twice; each may be given once")
            operation.check(shape)
            shape = operation.output(shape)
        return cls(operations)

    def fit(self, images: U8) -> Pipeline:
        """The pipeline after every operation has measured the training images (n, h, w, c)."""
        return Pipeline(tuple(operation.fit(images) for operation in self.operations))

    def output(self, shape: Shape) -> Shape:
        """(h, w, c) of the result, in training and in evaluation."""
        for operation in self.operations:
            shape = operation.output(shape)
        return shape

    @property
    def views(self) -> tuple[str, ...]:
        """What evaluation can look at: five crops if images are cropped, else one."""
        return VIEWS if any(isinstance(operation, Crop | CutWindow) for operation in self.operations) else VIEWS[:1]

    def apply(self, images: U8, ids: I64, seed: int, epoch: int, out: U8 | None = None) -> U8:
        """images: (n, h, w, c), not changed; ids: (n,), their training numbers. Returns `out` or a new array.

        The result for an image does not depend on the other images of the call, or on the order of the calls.
        """
        source = np.require(images, np.uint8, ("C", "W"))  # Numba would compile once more for a read-only array
        n, *size = source.shape
        shape = self.output((size[0], size[1], size[2]))
        target = np.empty((n, *shape), np.uint8) if out is None else out
        if target.shape != (n, *shape) or np.may_share_memory(target, images):
            raise ValueError(f"out must be another array of shape {(n, *shape)}")
        if not self.operations:
            target[...] = source
        for i, operation in enumerate(self.operations):
            size = list(operation.output((size[0], size[1], size[2])))
            result = target if i == len(self.operations) - 1 else np.empty((n, *size), np.uint8)
            operation.apply(source, operation.draws(seed, epoch, ids), result)
            source = result
        return target

    def still(self, images: U8, view: str = VIEWS[0]) -> U8:
        """What evaluation sees of images (n, h, w, c): crops and padding, no random operation. view: one of VIEWS."""
        for operation in self.operations:
            images = operation.still(images, view)
        return images


def _parse(spec: str) -> Operation:
    name, *arguments = spec.split(":")
    if name not in OPERATIONS:
        usages = ", ".join(kind.usage() for kind in OPERATIONS.values())
        raise UsageError(f"there is no augmentation {name!r}{nearest(name, OPERATIONS) or '.'} There are {usages}")
    kind = OPERATIONS[name]
    if not all(argument.isascii() and argument.isdigit() for argument in arguments):
        raise UsageError(f"augmentation {spec!r}: what follows the name must be whole numbers; write {kind.usage()}")
    try:
        return kind.parse([int(argument) for argument in arguments])
    except ValueError as e:
        raise UsageError(f"augmentation {spec!r}: {e}; write {kind.usage()}") from e


class Standard(NamedTuple):
    """What the network subtracts from an augmented and cropped image, and divides it by; in units of 0 ... 255."""

    mean: tuple[float, ...]  #: one per channel, or an image (h, w, c) in C order
    std: tuple[float, ...]  #: one per channel


def find_standard(dataset: Dataset, pipeline: Pipeline, how: str) -> Standard:
    """The normalisation of a data set.

    how: "channel": mean and standard deviation of each channel. "mean-image": the mean of every pixel, and one standard
    deviation of all pixels.
    """
    if how == "channel":
        return Standard(tuple(dataset.mean.tolist()), tuple(dataset.std.tolist()))
    square = np.square(dataset.std) + np.square(dataset.mean)  # exact enough: of a few channels
    std = sqrt(float(square.mean() - np.square(dataset.mean.mean())))
    return Standard(_mean_image(dataset, pipeline), (std,) * dataset.mean.size)


def _mean_image(dataset: Dataset, pipeline: Pipeline) -> tuple[float, ...]:
    """The mean training image as evaluation sees it, from sums of integers: exact in any order, rounded once."""
    total = np.zeros(pipeline.output(dataset.image_shape), np.int64)
    for at in range(0, len(dataset.train_images), _BLOCK):
        total += pipeline.still(dataset.train_images[at : at + _BLOCK]).sum(axis=0, dtype=np.int32)
    return tuple(round(pixel / len(dataset.train_images), _DIGITS) for pixel in total.reshape(-1).tolist())


@dataclass(frozen=True, slots=True, eq=False)
class ShardSource:
    """The images of a run. Every method is a pure function of its arguments; threads may share one source."""

    dataset: Dataset
    parts: Split  #: positions in the data set's training part
    sampler: Sampler  #: its numbers are positions in parts.train
    pipeline: Pipeline
    normalise: str = "channel"  #: see find_standard
    given: Standard | None = None  #: the normalisation, where the configuration names it; None: that of the data set

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
        return self.given or find_standard(self.dataset, self.pipeline, self.normalise)

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
    channels = dataset.image_shape[2]
    if len(data.mean) not in (0, channels):
        whose = (
            "; this is the mean of the images on which the start weights were trained" if training.start_sha256 else ""
        )
        raise UsageError(
            f"mean = {list(data.mean)}: must have one value per channel, and images of {data.dataset} have {channels}"
            f"{whose}"
        )
    return ShardSource(
        dataset=dataset,
        parts=parts,
        sampler=Sampler(parts.train.size, training.batch_size, training.shard_size, training.seed, data.replacement),
        pipeline=pipeline,
        normalise=data.normalise,
        given=Standard(tuple(255 * m for m in data.mean), tuple(255 * s for s in data.std)) if data.mean else None,
    )
