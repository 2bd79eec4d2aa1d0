"""Normalisation: one mean per channel; or, as in PyDatSet, the mean image and one standard deviation of all pixels."""

from __future__ import annotations

import numpy as np
import pytest

from dptrain.data.catalog import open_dataset
from dptrain.data.shards import Pipeline, find_standard


@pytest.fixture(scope="module")
def shapes():
    return open_dataset("shapes32", "")


def test_a_channel_has_the_mean_and_standard_deviation_of_the_data_set(shapes):
    standard = find_standard(shapes, Pipeline(), "channel")
    assert standard == (tuple(shapes.mean.tolist()), tuple(shapes.std.tolist()))


def test_the_mean_image_is_pydatsets(shapes):
    """Its cifar10.get_CIFAR10_data: np.mean over the images, np.std of all raw pixels."""
    pixels = shapes.train_images.astype(np.float64)
    mean, std = find_standard(shapes, Pipeline(), "mean-image")
    np.testing.assert_allclose(np.reshape(mean, shapes.image_shape), pixels.mean(axis=0), atol=5.1e-5)
    np.testing.assert_allclose(std, np.full(3, pixels.std()), rtol=1e-12)


def test_if_images_are_cropped_the_mean_is_that_of_the_evaluation_windows(shapes):
    pipeline = Pipeline.parse(("window:24:20:2",), shapes.image_shape)
    mean, _ = find_standard(shapes, pipeline, "mean-image")
    seen = pipeline.still(shapes.train_images)
    np.testing.assert_allclose(np.reshape(mean, (24, 20, 3)), seen.mean(axis=0), atol=5.1e-5)
