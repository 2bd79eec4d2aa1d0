"""What is subtracted from pixels and divided by before the network sees them: measured on the training set."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np

from dptrain.data.augment import Pipeline
from dptrain.data.dataset import Dataset

_BLOCK = 500  #: images: 500 * 255 fits in 32 bits
_DIGITS = 4  #: of a mean image, which every checkpoint holds in full


class Standard(NamedTuple):
    """Both in units of 0 ... 255, and what the network subtracts from an image after it is augmented and cut."""

    mean: tuple[float, ...]  #: one a channel; or an image (h, w, c) in C order
    std: tuple[float, ...]  #: one a channel


def find_standard(dataset: Dataset, pipeline: Pipeline, how: str) -> Standard:
    """how: "channel", mean and deviation of each; "mean-image", the mean of every pixel, and one deviation of all."""
    if how == "channel":
        return Standard(tuple(dataset.mean.tolist()), tuple(dataset.std.tolist()))
    square = np.square(dataset.std) + np.square(dataset.mean)  # exact enough: of a few channels
    std = sqrt(float(square.mean() - np.square(dataset.mean.mean())))
    return Standard(_mean_image(dataset, pipeline), (std,) * dataset.mean.size)


def _mean_image(dataset: Dataset, pipeline: Pipeline) -> tuple[float, ...]:
    """Of the training images as evaluation sees them. Sums of integers, so exact in any order; rounded once."""
    total = np.zeros(pipeline.output(dataset.image_shape), np.int64)
    for at in range(0, len(dataset.train_images), _BLOCK):
        total += pipeline.still(dataset.train_images[at : at + _BLOCK]).sum(axis=0, dtype=np.int32)
    return tuple(round(pixel / len(dataset.train_images), _DIGITS) for pixel in total.reshape(-1).tolist())
