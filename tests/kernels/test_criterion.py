"""Hinge and binary cross-entropy: compiled against reference, and what they are at known scores."""

import math

import numpy as np
import pytest

from dptrain.kernels import criterion
from dptrain.kernels.criterion import reference


@pytest.mark.parametrize("name", ["hinge", "binary_cross_entropy"])
@pytest.mark.parametrize("classes", [2, 10])
def test_losses_and_gradient_equal_the_reference(name, classes):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(0, 3, (40, classes)).astype(np.float32), rng.integers(0, classes, 40)
    losses, gradient = getattr(criterion, name)(scores, labels)
    expected, expected_gradient = getattr(reference, name)(scores.astype(np.float64), labels)
    np.testing.assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)
    assert losses.dtype == np.float64
    assert gradient.dtype == np.float32


def test_hinge_counts_what_comes_within_one_of_the_right_score():
    losses, gradient = criterion.hinge(np.array([[3.0, 2.5, 0.0, 4.0]], np.float32), np.array([0]))
    assert losses.tolist() == [0.5 + 2.0]
    assert gradient.tolist() == [[-2, 1, 0, 1]]


def test_binary_cross_entropy_asks_every_class_and_does_not_overflow():
    losses, gradient = criterion.binary_cross_entropy(np.array([[0.0, 0.0], [1e4, -1e4]], np.float32), np.array([0, 1]))
    assert losses.tolist() == [pytest.approx(2 * math.log(2)), 2e4]
    assert gradient.tolist() == [[-0.5, 0.5], [1, -1]]


@pytest.mark.parametrize("name", ["hinge", "binary_cross_entropy"])
def test_a_score_that_is_no_number_shows_in_the_loss(name):
    for twin in (criterion, reference):
        assert np.isnan(getattr(twin, name)(np.array([[np.nan, 1.0]], np.float32), np.array([1]))[0]).all()
