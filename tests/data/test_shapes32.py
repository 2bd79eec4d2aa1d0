"""The computed set `shapes32`: its bits never change, and its classes differ in form only."""

from __future__ import annotations

import numpy as np
import pytest

from dptrain.data.datasets import shapes32


@pytest.fixture(scope="module")
def pictures():
    return shapes32.generate(np.arange(1000))


def test_bits_never_change():
    d = shapes32.load(train=100, test=20)
    assert d.sha256 == "0561a8675d13b7a2cddb762846c88284a25e5dd0d8065cf7a02ff06d64b22bea"


def test_a_picture_is_a_function_of_its_number_alone(pictures):
    chosen = np.array([777, 3, 42])
    images, labels = shapes32.generate(chosen)
    np.testing.assert_array_equal(images, pictures[0][chosen])
    np.testing.assert_array_equal(labels, [7, 3, 2])


def test_a_larger_set_begins_with_a_smaller_one(pictures):
    d = shapes32.load(train=60, test=40)
    np.testing.assert_array_equal(np.concatenate([d.train_images, d.test_images]), pictures[0][:100])


def test_the_set_has_the_form_of_cifar(pictures):
    images, labels = pictures
    assert images.shape == (1000, 32, 32, 3)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [100] * 10
    assert len({image.tobytes() for image in images}) == 1000


def test_the_mean_colour_says_next_to_nothing_about_the_class(pictures):
    images, labels = pictures
    colours = images.reshape(1000, -1, 3).mean(axis=1)
    centres = np.stack([colours[:500][labels[:500] == c].mean(axis=0) for c in range(10)])
    guesses = ((colours[500:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (guesses == labels[500:]).mean() < 0.2


def test_bars_vary_along_x_and_slats_along_y(pictures):
    # Bars vary along x, slats along y, whatever their colours: the forms survive all that is put over them.
    images, labels = pictures
    grey = images.astype(np.int64).sum(axis=3)
    along_x, along_y = (np.abs(np.diff(grey, axis=axis)).sum(axis=(1, 2)) for axis in (2, 1))
    bars, slats = labels == shapes32.CLASSES.index("bars"), labels == shapes32.CLASSES.index("slats")
    assert (along_x > along_y)[bars].mean() > 0.9
    assert (along_x < along_y)[slats].mean() > 0.9
