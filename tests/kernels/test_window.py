"""Pooling over any windows: compiled against reference; frames, overlaps, windows that reach beyond."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dptrain.kernels import window
from dptrain.kernels.window import Window, reference

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


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
    y, place = window.maximum(x, shape)
    expected, first = reference.maximum(x, shape)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(place, first)
    dy = rng.integers(-9, 9, y.shape).astype(np.float32)
    size = (height, width)
    np.testing.assert_array_equal(window.maximum_gradient(dy, place, size), reference.maximum_gradient(dy, place, size))
    np.testing.assert_array_equal(window.average(x, shape), reference.average(x, shape))
    gradient = window.average_gradient(dy, shape, size)
    np.testing.assert_allclose(gradient, reference.average_gradient(dy.astype(np.float64), shape, size), atol=1e-5)


def test_a_square_window_that_tiles_the_image_is_the_plain_mean_and_maximum():
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    tiles = Window((2, 2), (2, 2))
    assert window.maximum(x, tiles)[0].ravel().tolist() == [5, 7, 13, 15]
    assert window.average(x, tiles).ravel().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_ceil_adds_the_window_that_reaches_beyond_the_image_and_divides_by_what_it_sees():
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    assert Window((1, 2), (1, 2)).outputs(1, 5) == (1, 2)
    assert window.average(x, Window((1, 2), (1, 2), ceil=True)).ravel().tolist() == [0.5, 2.5, 4.0]


def test_the_frame_is_zeros_for_an_average_and_nothing_for_a_maximum():
    x = np.full((1, 1, 2, 1), -6, np.float32)
    framed = Window((1, 3), (1, 3), (0, 1))
    assert window.maximum(x, framed)[0].ravel().tolist() == [-6]
    assert window.average(x, framed).ravel().tolist() == [-4]
    assert window.average(x, framed._replace(count_pad=False)).ravel().tolist() == [-6]


def test_one_maximum_of_a_tie_gets_the_whole_gradient():
    x = np.zeros((1, 2, 2, 1), np.float32)
    tiles = Window((2, 2), (2, 2))
    place = window.maximum(x, tiles)[1]
    assert window.maximum_gradient(np.ones((1, 1, 1, 1), np.float32), place, (2, 2)).ravel().tolist() == [1, 0, 0, 0]


def test_nan_is_the_largest():
    x = np.array([1, np.nan, 3, np.nan], np.float32).reshape(1, 2, 2, 1)
    for twin in (window.maximum, reference.maximum):
        y, place = twin(x, Window((2, 2), (2, 2)))
        assert np.isnan(y).all()
        assert place.item() == 1
