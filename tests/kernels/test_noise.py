"""The noise kernel against the NumPy reference, byte for byte, and the figures of what it draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.kernels.noise import noise

shapes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))
strengths = st.tuples(*[st.integers(0, 100)] * 3).filter(any)


@given(shape=shapes, strengths=strengths, seed=st.integers(0, 10**9))
def test_noise_is_the_reference(drawn, shape, strengths, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(noise, x, words, strengths)


@pytest.mark.parametrize("strengths", [(100, 0, 0), (0, 255, 0), (0, 0, 100)])
def test_many_values_are_the_reference_at_the_edges_of_its_tables_too(drawn, strengths):
    x, words = drawn.images((24, 40, 40, 3)), drawn.words(8, 24)
    drawn.both(noise, x, words, strengths)


def _noisy(drawn, strengths, value=100, n=40, side=32):
    x = np.full((n, side, side, 3), value, np.uint8)
    out = np.empty_like(x)
    noise(x, drawn.words(1, n), strengths, out)
    return out.astype(float)


def test_salt_and_pepper_hit_the_asked_share_both_equally_often(drawn):
    out = _noisy(drawn, (10, 0, 0))
    assert abs((out == 0).mean() - 0.05) < 0.003
    assert abs((out == 255).mean() - 0.05) < 0.003
    assert np.all(np.isin(out, (0, 100, 255)))


@pytest.mark.parametrize(("strengths", "deviation"), [((0, 20, 0), 20), ((0, 0, 20), 20)])
def test_added_noise_has_mean_0_and_the_asked_deviation(drawn, strengths, deviation):
    out = _noisy(drawn, strengths)  # speckle: 20 % of 100
    assert abs(out.mean() - 100) < 0.3
    assert abs(out.std() / deviation - 1) < 0.01
    shares = [(np.abs(out - 100) > k * deviation).mean() for k in (1, 2)]
    np.testing.assert_allclose(shares, [0.317, 0.0455], atol=0.015)


def test_speckle_grows_with_the_value_and_leaves_black_alone(drawn):
    assert _noisy(drawn, (0, 0, 10), value=0).max() == 0
    assert abs(_noisy(drawn, (0, 0, 10), value=50).std() / 5 - 1) < 0.02


def test_each_kind_is_drawn_for_a_third_of_the_images(drawn):
    x = np.full((3000, 4, 4, 3), 100, np.uint8)
    out = np.empty_like(x)
    noise(x, drawn.words(2, len(x)), (50, 1, 20), out)
    salted = (np.isin(out, (0, 255)).any(axis=(1, 2, 3))).sum()
    quiet = ((np.abs(out.astype(int) - 100) <= 4).all(axis=(1, 2, 3))).sum()
    assert abs(int(salted) - 1000) < 110
    assert abs(int(quiet) - 1000) < 110


def test_values_of_an_image_are_drawn_apart_and_images_too(drawn):
    out = _noisy(drawn, (0, 20, 0)) - 100
    flat = out.reshape(len(out), -1)
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(flat[:-1].ravel(), flat[1:].ravel())[0, 1]) < 0.01
