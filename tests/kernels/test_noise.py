"""The noise kernel against the NumPy reference, byte for byte, and the figures of what it draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.kernels import philox
from dptrain.kernels.noise import noise, reference

shapes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))
strengths = st.tuples(*[st.integers(0, 100)] * 3).filter(any)


def _images(shape):
    count = int(np.prod(shape))
    return (philox.words(7, 99, 0, 0, count) >> 24).astype(np.uint8).reshape(shape)


def _words(seed, n):
    return philox.blocks(seed, 98, 0, np.arange(n))


@given(shape=shapes, strengths=strengths, seed=st.integers(0, 10**9))
def test_noise_is_the_reference(shape, strengths, seed):
    x, words = _images(shape), _words(seed, shape[0])
    ref, out = np.empty_like(x), np.empty_like(x)
    reference.noise(x, words, strengths, ref)
    noise(x, words, strengths, out)
    np.testing.assert_array_equal(out, ref)


@pytest.mark.parametrize("strengths", [(100, 0, 0), (0, 255, 0), (0, 0, 100)])
def test_many_values_are_the_reference_at_the_edges_of_its_tables_too(strengths):
    x, words = _images((24, 40, 40, 3)), _words(8, 24)
    ref, out = np.empty_like(x), np.empty_like(x)
    reference.noise(x, words, strengths, ref)
    noise(x, words, strengths, out)
    np.testing.assert_array_equal(out, ref)


def _noisy(strengths, value=100, n=40, side=32):
    x = np.full((n, side, side, 3), value, np.uint8)
    out = np.empty_like(x)
    noise(x, _words(1, n), strengths, out)
    return out.astype(float)


def test_salt_and_pepper_hit_the_asked_share_both_equally_often():
    out = _noisy((10, 0, 0))
    assert abs((out == 0).mean() - 0.05) < 0.003
    assert abs((out == 255).mean() - 0.05) < 0.003
    assert np.all(np.isin(out, (0, 100, 255)))


@pytest.mark.parametrize(("strengths", "deviation"), [((0, 20, 0), 20), ((0, 0, 20), 20)])
def test_added_noise_has_mean_0_and_the_asked_deviation(strengths, deviation):
    out = _noisy(strengths)  # speckle: 20 % of 100
    assert abs(out.mean() - 100) < 0.3
    assert abs(out.std() / deviation - 1) < 0.01
    shares = [(np.abs(out - 100) > k * deviation).mean() for k in (1, 2)]
    np.testing.assert_allclose(shares, [0.317, 0.0455], atol=0.015)


def test_speckle_grows_with_the_value_and_leaves_black_alone():
    assert _noisy((0, 0, 10), value=0).max() == 0
    assert abs(_noisy((0, 0, 10), value=50).std() / 5 - 1) < 0.02


def test_each_kind_is_drawn_for_a_third_of_the_images():
    x = np.full((3000, 4, 4, 3), 100, np.uint8)
    out = np.empty_like(x)
    noise(x, _words(2, len(x)), (50, 1, 20), out)
    salted = (np.isin(out, (0, 255)).any(axis=(1, 2, 3))).sum()
    quiet = ((np.abs(out.astype(int) - 100) <= 4).all(axis=(1, 2, 3))).sum()
    assert abs(int(salted) - 1000) < 110
    assert abs(int(quiet) - 1000) < 110


def test_values_of_an_image_are_drawn_apart_and_images_too():
    out = _noisy((0, 20, 0)) - 100
    flat = out.reshape(len(out), -1)
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(flat[:-1].ravel(), flat[1:].ravel())[0, 1]) < 0.01
