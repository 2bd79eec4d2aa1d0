"""Augmentation kernels against the NumPy reference, byte for byte, and the counts of what they draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.kernels import augment

shapes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))


@given(shape=shapes, seed=st.integers(0, 10**9))
def test_flip_is_the_reference(drawn, shape, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.flip, x, words)


@given(shape=shapes, pad=st.integers(0, 12), fill=st.integers(0, 255), seed=st.integers(0, 10**9))
def test_crop_is_the_reference_even_where_nothing_of_the_image_is_left(drawn, shape, pad, fill, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.crop, x, words, pad, fill)


@given(
    shape=shapes, pad=st.integers(0, 3), cut=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 999)
)
def test_crop_to_a_smaller_size_is_the_reference(drawn, shape, pad, cut, seed):
    n, h, w, c = shape
    size = (n, min(cut[0], h + 2 * pad), min(cut[1], w + 2 * pad), c)
    x, words = drawn.images(shape), drawn.words(seed, n)
    drawn.both(augment.crop, x, words, pad, 7, shape=size)


@given(shape=shapes, seed=st.integers(0, 10**9))
def test_flip_vertical_is_the_reference(drawn, shape, seed):
    x, words = drawn.images(shape), drawn.words(seed, shape[0])
    drawn.both(augment.flip_vertical, x, words)


@given(shape=shapes, side=st.integers(1, 12), fill=st.integers(0, 255), seed=st.integers(0, 10**9))
def test_cutout_is_the_reference(drawn, shape, side, fill, seed):
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
