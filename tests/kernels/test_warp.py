"""Rotation and elastic distortion against the NumPy reference, byte for byte, and their geometry."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.kernels import philox, warp
from dptrain.kernels.reference import warp as reference

shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))


@given(shape=shapes, limit=st.integers(0, 180), fill=st.integers(0, 255), seed=st.integers(0, 10**9))
def test_rotate_equals_the_reference(drawn, shape, limit, fill, seed):
    drawn.both(warp.rotate, drawn.images(shape), drawn.words(seed, shape[0]), limit, fill)


@given(
    shape=shapes,
    alpha=st.integers(0, 255),
    sigma=st.integers(1, 40),
    fill=st.integers(0, 255),
    seed=st.integers(0, 10**9),
)
def test_elastic_equals_the_reference(drawn, shape, alpha, sigma, fill, seed):
    drawn.both(warp.elastic, drawn.images(shape), drawn.words(seed, shape[0]), alpha, warp.gaussian(sigma), fill)


@given(shape=shapes, reach=st.integers(1, 4000), seed=st.integers(0, 99))
def test_sampling_equals_the_reference_inside_and_outside_the_image(drawn, shape, reach, seed):
    image = drawn.images(shape)[0]
    draws = philox.words(seed, 97, 0, 0, 32).astype(np.int64)
    y, x = (draws % (2 * reach) - reach).reshape(2, 4, 4)
    np.testing.assert_array_equal(warp.sample(image, y, x, 9), reference.sample(image, y, x, 9))


def test_large_images_equal_the_reference_also_where_places_are_rounded(drawn):
    x, words = drawn.images((12, 64, 56, 3)), drawn.words(6, 12)
    drawn.both(warp.rotate, x, words, 45, 9)
    drawn.both(warp.elastic, x, words, 40, warp.gaussian(6), 9)


def test_sines_and_cosines_are_the_nearest_whole_numbers():
    angles = [Fraction(k, warp.STEPS) for k in range(180 * warp.STEPS + 1)]
    radians = [math.radians(angle) for angle in angles]
    np.testing.assert_allclose(warp.COSINES, [65536 * math.cos(r) for r in radians], rtol=0, atol=0.5 + 1e-9)
    np.testing.assert_allclose(warp.SINES, [65536 * math.sin(r) for r in radians], rtol=0, atol=0.5 + 1e-9)


@pytest.mark.parametrize("sigma", [1, 6, 10, 40])
def test_weights_are_a_gaussian_that_sums_to_one(sigma):
    weights = warp.gaussian(sigma)
    wanted = np.exp(-((np.arange(13) - 6.0) ** 2) / (2.0 * sigma**2))
    assert weights.sum() == 4096
    np.testing.assert_array_equal(weights, weights[::-1])
    np.testing.assert_allclose(weights, wanted * 4096 / wanted.sum(), rtol=0, atol=4)


def _fixed_angle(sixteenths, limit):
    """The first word that draws this angle."""
    count = 2 * warp.STEPS * limit + 1
    words = np.zeros((1, 4), np.uint32)
    words[0, 0] = -(-((sixteenths + warp.STEPS * limit) << 32) // count)
    return words


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (-90, 3), (180, 2)])
def test_right_angles_turn_the_image_exactly(drawn, degrees, turns):
    x = drawn.images((1, 9, 9, 3))
    out = drawn.both(warp.rotate, x, _fixed_angle(16 * degrees, 180), 180, 0)
    np.testing.assert_array_equal(out[0], np.rot90(x[0], turns))


def test_a_small_angle_moves_a_dot_by_that_angle(drawn):
    x = np.zeros((1, 65, 65, 1), np.uint8)
    x[0, 31:34, 61:64] = 200  # 30 right of the middle
    out = drawn.both(warp.rotate, x, _fixed_angle(16 * 30, 45), 45, 0)[0, :, :, 0].astype(float)
    y, x = (np.mgrid[:65, :65] * out).sum(axis=(1, 2)) / out.sum()
    assert (32 - y, x - 32) == pytest.approx(
        (30 * math.sin(math.radians(30)), 30 * math.cos(math.radians(30))), abs=0.1
    )


def test_every_sixteenth_of_a_degree_is_equally_likely_both_ends_too(drawn):
    x = np.repeat(drawn.images((1, 33, 33, 1)), 3300, axis=0)
    out = np.empty_like(x)
    warp.rotate(x, drawn.words(3, len(x)), 1, 0, out)
    turned, counts = np.unique(out.reshape(len(out), -1), axis=0, return_counts=True)
    assert len(turned) == 33
    for ends in (-16, 16):
        end = np.empty_like(x[:1])
        warp.rotate(x[:1], _fixed_angle(ends, 1), 1, 0, end)
        assert (turned == end.reshape(-1)).all(axis=1).any()
    assert abs(float(((counts - 100) ** 2 / 100).sum()) - 32) < 4 * 64**0.5


def test_elastic_without_strength_changes_nothing(drawn):
    x = drawn.images((2, 8, 7, 3))
    np.testing.assert_array_equal(drawn.both(warp.elastic, x, drawn.words(0, 2), 0, warp.gaussian(6), 0), x)


def test_elastic_is_centred_smooth_and_as_strong_as_its_weights_say(drawn):
    ramp = np.broadcast_to((np.arange(64) * 4).astype(np.uint8)[None, None, :, None], (200, 64, 64, 1)).copy()
    out = np.empty_like(ramp)
    alpha, weights = 24, warp.gaussian(6)
    warp.elastic(ramp, drawn.words(5, 200), alpha, weights, 0, out)
    moved = (out.astype(float) - ramp)[:, 16:48, 16:48, 0] / 4  # pixels along x
    strength = alpha * math.sqrt(170 / 256) * float((weights.astype(float) ** 2).sum()) / 4096**2
    assert abs(moved.mean()) < 0.05
    assert moved.std() == pytest.approx(strength, rel=0.1)
    step = np.diff(moved, axis=2)
    assert step.std() < 0.45 * moved.std()
    far = np.corrcoef(moved[:, :, 0].ravel(), moved[:, :, 20].ravel())[0, 1]
    assert abs(far) < 0.1
