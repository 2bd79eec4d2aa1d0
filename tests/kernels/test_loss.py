"""Cross-entropy, ranks, hinge, binary cross-entropy: compiled against the reference, and at known scores."""

import math

import numpy as np
import pytest

from dptrain.kernels import loss
from dptrain.kernels.reference import loss as reference
from dptrain.nn.criterion import added


def scores(seed=0, n=33, classes=10, scale=3.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, classes)) * scale).astype(np.float32), rng.integers(0, classes, n)


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
def test_cross_entropy_and_its_gradient_equal_the_reference(smoothing):
    logits, labels = scores()
    losses, gradient = loss.cross_entropy(logits, labels, smoothing)
    exact_losses, exact_gradient = reference.cross_entropy(logits.astype(np.float64), labels, smoothing)
    assert np.allclose(losses, exact_losses, rtol=1e-14)
    assert np.allclose(gradient, exact_gradient, rtol=1e-6)


def test_losses_are_added_one_after_another_in_every_python():
    """`sum` of Python 3.12 gives 2.0, that of 3.11 0.0: a run would have other losses under another Python."""
    assert added([1.0, 1e100, 1.0, -1e100]) == 0.0
    assert added([]) == 0.0


def test_smoothing_is_the_mean_over_labels_drawn_so():
    """With probability 1 - s the label itself, else any class."""
    logits, labels = scores(n=5, classes=4)
    of_class = [loss.cross_entropy(logits, np.full(5, k)) for k in range(4)]
    plain = loss.cross_entropy(logits, labels)
    for part, smoothed in enumerate(loss.cross_entropy(logits, labels, 0.2)):
        np.testing.assert_allclose(
            smoothed, 0.8 * plain[part] + 0.05 * sum(c[part] for c in of_class), rtol=1e-6, atol=1e-7
        )


def test_equal_scores_cost_the_logarithm_of_the_classes():
    losses, _ = loss.cross_entropy(np.zeros((4, 10), np.float32), np.arange(4))
    assert np.allclose(losses, np.log(10), rtol=1e-15)


def test_large_scores_do_not_overflow():
    losses, gradient = loss.cross_entropy(np.array([[1e30, 0, -1e30]], np.float32), np.array([0]))
    assert losses[0] == 0
    assert np.isfinite(gradient).all()


def test_nan_scores_give_nan_losses_and_no_hit():
    logits, labels = scores(n=2)
    logits[0, 3] = np.nan
    losses, gradient = loss.cross_entropy(logits, labels)
    assert np.isnan(losses[0])
    assert np.isnan(gradient[0]).all()
    all_nan = np.full((1, 10), np.nan, np.float32)
    assert loss.ranks(all_nan, np.array([0]))[0] > 0


def test_probabilities_sum_to_one_and_equal_the_reference():
    logits, _ = scores()
    computed = loss.probabilities(logits)
    assert np.allclose(computed.sum(1), 1)
    assert np.allclose(computed, reference.probabilities(logits), rtol=1e-14)


def test_rank_counts_the_classes_above_the_right_one():
    logits = np.array([[1, 5, 3], [2, 2, 2], [2, 2, 2]], np.float32)
    assert loss.ranks(logits, np.array([2, 0, 2])).tolist() == [1, 0, 2]


def test_ranks_equal_the_reference_with_ties_and_nan():
    logits, labels = scores(n=200, scale=1.0)
    logits = np.round(logits)
    logits[::7, 2] = np.nan
    np.testing.assert_array_equal(loss.ranks(logits, labels), reference.ranks(logits, labels))


@pytest.mark.parametrize("name", ["hinge", "binary_cross_entropy"])
@pytest.mark.parametrize("classes", [2, 10])
def test_hinge_and_binary_cross_entropy_and_their_gradients_equal_the_reference(name, classes):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(0, 3, (40, classes)).astype(np.float32), rng.integers(0, classes, 40)
    losses, gradient = getattr(loss, name)(scores, labels)
    expected, expected_gradient = getattr(reference, name)(scores.astype(np.float64), labels)
    np.testing.assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)
    assert losses.dtype == np.float64
    assert gradient.dtype == np.float32


def test_hinge_counts_what_comes_within_one_of_the_right_score():
    losses, gradient = loss.hinge(np.array([[3.0, 2.5, 0.0, 4.0]], np.float32), np.array([0]))
    assert losses.tolist() == [0.5 + 2.0]
    assert gradient.tolist() == [[-2, 1, 0, 1]]


def test_binary_cross_entropy_asks_every_class_and_does_not_overflow():
    losses, gradient = loss.binary_cross_entropy(np.array([[0.0, 0.0], [1e4, -1e4]], np.float32), np.array([0, 1]))
    assert losses.tolist() == [pytest.approx(2 * math.log(2)), 2e4]
    assert gradient.tolist() == [[-0.5, 0.5], [1, -1]]


@pytest.mark.parametrize("name", ["hinge", "binary_cross_entropy"])
def test_a_nan_score_makes_hinge_and_binary_cross_entropy_nan(name):
    for twin in (loss, reference):
        assert np.isnan(getattr(twin, name)(np.array([[np.nan, 1.0]], np.float32), np.array([1]))[0]).all()
