"""Augmentations against the reference, byte for byte, and the statistics of what they draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.kernels import augment

shapes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))
strengths = st.tuples(*[st.integers(0, 100)] * 3).filter(any)


@given(shape=shapes, seed=st.integers(0, 10**9))
def test_flip_equals_the_reference(drawn, shape, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.flip, x, words)


@given(shape=shapes, pad=st.integers(0, 12), fill=st.integers(0, 255), seed=st.integers(0, 10**9))
def test_crop_equals_the_reference_even_if_no_pixel_of_the_image_is_left(drawn, shape, pad, fill, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.crop, x, words, pad, fill)


@given(shape=shapes, pad=st.integers(0, 8), seed=st.integers(0, 10**9))
def test_reflect_equals_the_reference(drawn, shape, pad, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.reflect, x, words, min(pad, *(size - 1 for size in shape[1:3])))


@given(
    shape=shapes, pad=st.integers(0, 3), cut=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 999)
)
def test_crop_to_a_smaller_size_equals_the_reference(drawn, shape, pad, cut, seed):
    n, h, w, c = shape
    size = (n, min(cut[0], h + 2 * pad), min(cut[1], w + 2 * pad), c)
    x, words = drawn.images(shape), drawn.words(seed, n)
    drawn.both(augment.crop, x, words, pad, 7, shape=size)


@given(shape=shapes, seed=st.integers(0, 10**9))
def test_flip_vertical_equals_the_reference(drawn, shape, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.flip_vertical, x, words)


@given(shape=shapes, side=st.integers(1, 12), fill=st.integers(0, 255), seed=st.integers(0, 10**9))
def test_cutout_equals_the_reference(drawn, shape, side, fill, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.cutout, x, words, side, fill)


def test_flip_vertical_turns_upside_down(drawn):
    x = drawn.images((1, 3, 2, 3))
    out = np.empty_like(x)
    augment.flip_vertical(x, np.full((1, 4), 2**31, np.uint32), out)
    np.testing.assert_array_equal(out, x[:, ::-1])


def test_the_middle_of_a_cutout_is_every_pixel_equally_often(drawn):
    side, each = 5, 400
    n = each * side * side
    x = np.zeros((n, side, side, 1), np.uint8)
    out = np.empty_like(x)
    augment.cutout(x, drawn.words(4, n), 1, 1, out)
    counts = out.sum(axis=0, dtype=np.int64)
    assert counts.sum() == n
    chi2 = float(((counts - each) ** 2 / each).sum())
    assert abs(chi2 - 24) < 4 * 48**0.5


@pytest.mark.parametrize(("size", "window"), [(7, 4), (5, 5), (4, 1)])
def test_every_window_is_equally_likely_the_last_one_too(drawn, size, window):
    places, each = size - window + 1, 400
    n = each * places * places
    y, x = np.mgrid[:size, :size]
    images = np.broadcast_to((y * 16 + x).astype(np.uint8)[None, :, :, None], (n, size, size, 1)).copy()
    out = np.empty((n, window, window, 1), np.uint8)
    augment.crop(images, drawn.words(5, n), 0, 0, out)
    counts = np.zeros((places, places))
    np.add.at(counts, (out[:, 0, 0, 0] // 16, out[:, 0, 0, 0] % 16), 1)
    df = places * places - 1
    assert abs(float(((counts - each) ** 2 / each).sum()) - df) <= 4 * (2 * df) ** 0.5


def test_flip_mirrors_left_to_right_and_keeps_pixels_whole():
    x = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(1, 2, 3, 3)
    out = np.empty_like(x)
    augment.flip(x, np.full((1, 4), 2**31, np.uint32), out)
    np.testing.assert_array_equal(out, x[:, :, ::-1])


@pytest.mark.parametrize("pad", [1, 2, 4])
def test_every_offset_of_a_crop_is_equally_likely_the_last_one_too(drawn, pad):
    side, span, each = 2 * pad + 1, 2 * pad + 1, 400
    n = each * span * span
    x = np.zeros((n, side, side, 1), np.uint8)
    x[:, pad, pad] = 1  # a dot in the middle; where it lands is the offset
    out = np.empty_like(x)
    augment.crop(x, drawn.words(1, n), pad, 0, out)
    counts = out.sum(axis=0, dtype=np.int64)
    assert counts.sum() == n
    chi2 = float(((counts - each) ** 2 / each).sum())
    df = span * span - 1
    assert abs(chi2 - df) < 4 * (2 * df) ** 0.5


def test_half_of_the_images_are_mirrored(drawn):
    x = np.zeros((10_000, 1, 2, 1), np.uint8)
    x[:, 0, 0] = 1
    out = np.empty_like(x)
    augment.flip(x, drawn.words(2, len(x)), out)
    assert abs(int(out[:, 0, 1].sum()) - 5000) < 200


def test_input_is_not_changed(drawn):
    x = drawn.images((3, 5, 5, 3))
    before = x.copy()
    augment.flip(x, drawn.words(0, 3), np.empty_like(x))
    augment.crop(x, drawn.words(0, 3), 2, 9, np.empty_like(x))
    np.testing.assert_array_equal(x, before)


@given(shape=shapes, percent=st.integers(0, 100), seed=st.integers(0, 10**9))
def test_contrast_equals_the_reference(drawn, shape, percent, seed):
    drawn.both(augment.contrast, drawn.images(shape), drawn.words(seed, shape[0]), percent)


@given(shape=shapes, amount=st.integers(0, 255), seed=st.integers(0, 10**9))
def test_tint_equals_the_reference(drawn, shape, amount, seed):
    drawn.both(augment.tint, drawn.images(shape), drawn.words(seed, shape[0]), amount)


@given(
    shape=shapes.map(lambda s: (*s[:3], 3)),
    matrix=st.lists(st.integers(-(2**22), 2**22), min_size=9, max_size=9),
    seed=st.integers(0, 10**9),
)
def test_shift_equals_the_reference(drawn, shape, matrix, seed):
    drawn.both(
        augment.shift, drawn.images(shape), drawn.words(seed, shape[0]), np.array(matrix, np.int64).reshape(3, 3)
    )


def test_contrast_keeps_the_mean_and_its_factors_fill_the_range_evenly(drawn):
    x = np.zeros((4000, 1, 2, 1), np.uint8)
    x[:, 0, 0], x[:, 0, 1] = 28, 228  # mean 128
    out = drawn.both(augment.contrast, x, drawn.words(1, len(x)), 20).astype(int)
    assert np.abs(out.sum(axis=(1, 2, 3)) - 256).max() <= 1
    reach = out[:, 0, 1, 0] - 128  # 100 times the factor
    assert (reach.min(), reach.max()) == (80, 120)
    counts = np.bincount(reach - 80, minlength=41)[1:-1]
    chi2 = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert abs(chi2 - 38) < 4 * 76**0.5


def test_every_tint_is_equally_likely_and_channels_are_tinted_apart(drawn):
    x = np.full((8100, 1, 1, 3), 100, np.uint8)
    out = drawn.both(augment.tint, x, drawn.words(2, len(x)), 4).reshape(-1, 3).astype(int) - 96
    assert (out.min(), out.max()) == (0, 8)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        counts = np.bincount(out[:, a] * 9 + out[:, b], minlength=81)
        chi2 = float(((counts - 100) ** 2 / 100).sum())
        assert abs(chi2 - 80) < 4 * 160**0.5


def test_shifts_have_the_covariance_of_the_matrix_times_its_transpose(drawn):
    matrix = np.array([[6, 1, 0], [1, 5, 2], [0, 2, 4]]) * 65536
    x = np.full((20_000, 1, 1, 3), 128, np.uint8)
    moved = drawn.both(augment.shift, x, drawn.words(3, len(x)), matrix).reshape(-1, 3) - 128.0
    wanted = (matrix // 65536) @ (matrix // 65536).T
    np.testing.assert_allclose(np.cov(moved.T, bias=True), wanted, rtol=0, atol=1.2)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=0.2)


@given(shape=shapes, strengths=strengths, seed=st.integers(0, 10**9))
def test_noise_equals_the_reference(drawn, shape, strengths, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.noise, x, words, strengths)


@pytest.mark.parametrize("strengths", [(100, 0, 0), (0, 255, 0), (0, 0, 100)])
def test_many_values_equal_the_reference_also_at_the_ends_of_its_tables(drawn, strengths):
    x, words = drawn.images((24, 40, 40, 3)), drawn.words(8, 24)
    drawn.both(augment.noise, x, words, strengths)


def _noisy(drawn, strengths, value=100, n=40, side=32):
    x = np.full((n, side, side, 3), value, np.uint8)
    out = np.empty_like(x)
    augment.noise(x, drawn.words(1, n), strengths, out)
    return out.astype(float)


def test_salt_and_pepper_hit_the_asked_share_both_equally_often(drawn):
    out = _noisy(drawn, (10, 0, 0))
    assert abs((out == 0).mean() - 0.05) < 0.003
    assert abs((out == 255).mean() - 0.05) < 0.003
    assert np.all(np.isin(out, (0, 100, 255)))


@pytest.mark.parametrize(("strengths", "std"), [((0, 20, 0), 20), ((0, 0, 20), 20)])
def test_added_noise_has_mean_0_and_the_standard_deviation_asked_for(drawn, strengths, std):
    out = _noisy(drawn, strengths)  # speckle: 20 % of 100
    assert abs(out.mean() - 100) < 0.3
    assert abs(out.std() / std - 1) < 0.01
    shares = [(np.abs(out - 100) > k * std).mean() for k in (1, 2)]
    np.testing.assert_allclose(shares, [0.317, 0.0455], atol=0.015)


def test_speckle_grows_with_the_value_and_leaves_black_alone(drawn):
    assert _noisy(drawn, (0, 0, 10), value=0).max() == 0
    assert abs(_noisy(drawn, (0, 0, 10), value=50).std() / 5 - 1) < 0.02


def test_each_kind_is_drawn_for_a_third_of_the_images(drawn):
    x = np.full((3000, 4, 4, 3), 100, np.uint8)
    out = np.empty_like(x)
    augment.noise(x, drawn.words(2, len(x)), (50, 1, 20), out)
    salted = (np.isin(out, (0, 255)).any(axis=(1, 2, 3))).sum()
    quiet = ((np.abs(out.astype(int) - 100) <= 4).all(axis=(1, 2, 3))).sum()
    assert abs(int(salted) - 1000) < 110
    assert abs(int(quiet) - 1000) < 110


def test_values_of_an_image_are_drawn_apart_and_images_too(drawn):
    out = _noisy(drawn, (0, 20, 0)) - 100
    flat = out.reshape(len(out), -1)
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(flat[:-1].ravel(), flat[1:].ravel())[0, 1]) < 0.01
