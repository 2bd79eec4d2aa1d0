"""Fooling images: they reach their target in time or are reported as failed; pixels stay between 0 and 255."""

import numpy as np
import pytest

from dptrain.explain.fooling import Attempt, draw_fooled, fool, noise_images


def probabilities(network, x):
    logits = network.logits(x).astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def test_images_reach_the_confidence_and_differ_little(network, pictures):
    start = pictures[:4].astype(np.float32)
    targets = (network.logits(start).argmax(axis=1) + 1) % 5
    fooled = fool(network, start, targets, Attempt(confidence=0.6, step=4.0, cap=300))
    assert fooled.rate == 1.0
    reached = probabilities(network, fooled.end)[np.arange(4), targets]
    assert reached.min() >= 0.6
    np.testing.assert_allclose(fooled.probabilities, reached, rtol=1e-5)
    assert fooled.end.min() >= 0
    assert fooled.end.max() <= 255
    assert np.abs(fooled.end - start).max() <= 4.0 * fooled.steps.max() + 1e-3
    np.testing.assert_array_equal(fooled.start, start)


def test_an_image_that_has_the_confidence_already_is_not_changed(network, pictures):
    start = pictures[:3].astype(np.float32)
    targets = network.logits(start).argmax(axis=1)
    fooled = fool(network, start, targets, Attempt(confidence=0.01))
    assert fooled.steps.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(fooled.end, start)


def test_after_the_allowed_number_of_steps_it_ends_and_reports_the_failure(network, pictures):
    start = pictures[:2].astype(np.float32)
    targets = (network.logits(start).argmax(axis=1) + 1) % 5
    fooled = fool(network, start, targets, Attempt(confidence=0.999999, step=0.01, cap=3))
    assert fooled.success == [False, False]
    assert fooled.rate == 0.0
    assert fooled.steps.tolist() == [3, 3]


def test_a_fooled_image_does_not_depend_on_the_other_images_of_its_batch(network, pictures):
    start = pictures[:3].astype(np.float32)
    targets, attempt = np.array([1, 2, 3]), Attempt(confidence=0.5, step=4.0, cap=40)
    together = fool(network, start, targets, attempt)
    for i in range(3):
        alone = fool(network, start[i : i + 1], targets[i : i + 1], attempt)
        assert alone.steps[0] == together.steps[i]
        np.testing.assert_allclose(alone.end[0], together.end[i], atol=1e-2)


def test_a_pull_keeps_the_image_nearer_to_its_start(network, pictures):
    start = pictures[:4].astype(np.float32)
    targets = (network.logits(start).argmax(axis=1) + 1) % 5
    free, held = (
        fool(network, start, targets, Attempt(confidence=0.999999, step=4.0, pull=pull, cap=40)) for pull in (0.0, 1e-2)
    )
    assert np.abs(held.end - start).mean() < np.abs(free.end - start).mean()


def test_noise_is_counted_and_stays_within_pixels():
    one, other = noise_images(3, (8, 8, 3), seed=0), noise_images(3, (8, 8, 3), seed=1)
    np.testing.assert_array_equal(one, noise_images(3, (8, 8, 3), seed=0))
    np.testing.assert_array_equal(one[:2], noise_images(2, (8, 8, 3), seed=0))
    assert np.abs(one - other).max() > 0
    assert one.std() == pytest.approx(20, rel=0.1)


def test_the_picture_has_the_predecessors_three_panels_and_marks_a_failure(network, pictures):
    fooled = fool(network, pictures[:1].astype(np.float32), np.array([1]), Attempt(confidence=0.999999, cap=1))
    drawn = draw_fooled(fooled, ["bird"], ["cat (failed)"])
    titles = [axes.get_title() for axes in drawn.axes]
    assert titles[0] == "bird"
    assert titles[1].startswith("change, 1 steps\nat most ")
    assert titles[2] == "cat (failed)"
