"""Pixels to network input."""

import numpy as np

from dptrain.kernels import pixels
from dptrain.kernels.reference import pixels as reference


def test_standardised_pixels_equal_the_reference_bit_for_bit():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    mean, std = np.array([120.7, 3, 250], np.float32), np.array([60.1, 1, 7], np.float32)
    np.testing.assert_array_equal(pixels.standardise(images, mean, std), reference.standardise(images, mean, std))


def test_a_mean_image_is_subtracted_pixel_by_pixel():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    mean = np.random.default_rng(1).uniform(0, 255, (5, 7, 3)).astype(np.float32)
    std = np.array([60.1, 1, 7], np.float32)
    np.testing.assert_array_equal(pixels.standardise(images, mean, std), reference.standardise(images, mean, std))


def test_read_only_images_are_taken():
    images = np.zeros((1, 2, 2, 1), np.uint8)
    images.flags.writeable = False
    assert (pixels.standardise(images, np.ones(1, np.float32), np.ones(1, np.float32)) == -1).all()
