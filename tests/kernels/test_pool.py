"""Pooling: compiled against the reference; padding, overlaps, ties; gradients are separate arrays."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dptrain.kernels import pool
from dptrain.kernels.pool import Window
from dptrain.kernels.reference import pool as reference

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 7, 7, 8), (3, 8, 8, 64), (2, 16, 12, 17)])
def test_global_average_and_gradient_equal_the_reference(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    y = pool.global_average(x)
    assert np.allclose(y, reference.global_average(x.astype(np.float64)), atol=1e-6)
    dx = pool.global_average_gradient(y, shape[1:3])
    np.testing.assert_array_equal(dx, reference.global_average_gradient(y, shape[1:3]))


def test_the_global_gradient_can_be_written_without_touching_its_neighbours():
    """A predecessor returned a stride-0 view here; an in-place ReLU after it zeroed whole channels."""
    for twin in (pool.global_average_gradient, reference.global_average_gradient):
        dx = twin(np.ones((1, 2), np.float32), (2, 2))
        dx[0, 0, 0, 0] = 5
        assert dx.sum() == 5 + 7 * 0.25


@pytest.mark.parametrize("shape", [(1, 2, 2, 1), (2, 8, 6, 16)])
def test_average_of_two_by_two_equals_the_reference_bit_for_bit(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y = pool.average2(x)
    np.testing.assert_array_equal(y, reference.average2(x))
    np.testing.assert_array_equal(pool.average2_gradient(y), reference.average2_gradient(y))


@st.composite
def windows(draw):
    size = draw(pairs)
    pad = (draw(st.integers(0, size[0] // 2)), draw(st.integers(0, size[1] // 2)))
    return Window(size, draw(pairs), pad, draw(st.booleans()), draw(st.booleans()))


@settings(max_examples=80, deadline=None)
@given(windows(), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_both_poolings_and_their_gradients_equal_the_reference(shape, height, width, seed):
    assume(height + 2 * shape.pad[0] >= shape.size[0] and width + 2 * shape.pad[1] >= shape.size[1])
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, (2, height, width, 3)).astype(np.float32)  # ties, and sums that are exact
    y, place = pool.maximum(x, shape)
    expected, first = reference.maximum(x, shape)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(place, first)
    dy = rng.integers(-9, 9, y.shape).astype(np.float32)
    size = (height, width)
    np.testing.assert_array_equal(pool.maximum_gradient(dy, place, size), reference.maximum_gradient(dy, place, size))
    np.testing.assert_array_equal(pool.average(x, shape), reference.average(x, shape))
    gradient = pool.average_gradient(dy, shape, size)
    np.testing.assert_allclose(gradient, reference.average_gradient(dy.astype(np.float64), shape, size), atol=1e-5)


def test_a_square_window_that_tiles_the_image_is_the_plain_mean_and_maximum():
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    tiles = Window((2, 2), (2, 2))
    assert pool.maximum(x, tiles)[0].ravel().tolist() == [5, 7, 13, 15]
    assert pool.average(x, tiles).ravel().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_ceil_adds_the_window_that_reaches_beyond_the_image_and_divides_by_what_it_sees():
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    assert Window((1, 2), (1, 2)).outputs(1, 5) == (1, 2)
    assert pool.average(x, Window((1, 2), (1, 2), ceil=True)).ravel().tolist() == [0.5, 2.5, 4.0]


def test_the_frame_is_zeros_for_an_average_and_nothing_for_a_maximum():
    x = np.full((1, 1, 2, 1), -6, np.float32)
    framed = Window((1, 3), (1, 3), (0, 1))
    assert pool.maximum(x, framed)[0].ravel().tolist() == [-6]
    assert pool.average(x, framed).ravel().tolist() == [-4]
    assert pool.average(x, framed._replace(count_pad=False)).ravel().tolist() == [-6]


def test_one_maximum_of_a_tie_gets_the_whole_gradient():
    x = np.zeros((1, 2, 2, 1), np.float32)
    tiles = Window((2, 2), (2, 2))
    place = pool.maximum(x, tiles)[1]
    assert pool.maximum_gradient(np.ones((1, 1, 1, 1), np.float32), place, (2, 2)).ravel().tolist() == [1, 0, 0, 0]


def test_nan_is_the_largest():
    x = np.array([1, np.nan, 3, np.nan], np.float32).reshape(1, 2, 2, 1)
    for twin in (pool.maximum, reference.maximum):
        y, place = twin(x, Window((2, 2), (2, 2)))
        assert np.isnan(y).all()
        assert place.item() == 1
