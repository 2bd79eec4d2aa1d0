"""Contrast and colour kernels against the NumPy reference, byte for byte, and the counts of what they draw."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dptrain.kernels import colour, philox

shapes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))


@given(shape=shapes, percent=st.integers(0, 100), seed=st.integers(0, 10**9))
def test_contrast_is_the_reference(drawn, shape, percent, seed):
    drawn.both(colour.contrast, drawn.images(shape), drawn.words(seed, shape[0]), percent)


@given(shape=shapes, amount=st.integers(0, 255), seed=st.integers(0, 10**9))
def test_tint_is_the_reference(drawn, shape, amount, seed):
    drawn.both(colour.tint, drawn.images(shape), drawn.words(seed, shape[0]), amount)


@given(
    shape=shapes.map(lambda s: (*s[:3], 3)),
    matrix=st.lists(st.integers(-(2**22), 2**22), min_size=9, max_size=9),
    seed=st.integers(0, 10**9),
)
def test_shift_is_the_reference(drawn, shape, matrix, seed):
    drawn.both(colour.shift, drawn.images(shape), drawn.words(seed, shape[0]), np.array(matrix, np.int64).reshape(3, 3))


def test_contrast_keeps_the_mean_and_its_factors_fill_the_range_evenly(drawn):
    x = np.zeros((4000, 1, 2, 1), np.uint8)
    x[:, 0, 0], x[:, 0, 1] = 28, 228  # mean 128
    out = drawn.both(colour.contrast, x, drawn.words(1, len(x)), 20).astype(int)
    assert np.abs(out.sum(axis=(1, 2, 3)) - 256).max() <= 1
    reach = out[:, 0, 1, 0] - 128  # 100 times the factor
    assert (reach.min(), reach.max()) == (80, 120)
    counts = np.bincount(reach - 80, minlength=41)[1:-1]
    chi2 = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert abs(chi2 - 38) < 4 * 76**0.5


def test_every_tint_is_equally_likely_and_channels_are_tinted_apart(drawn):
    x = np.full((8100, 1, 1, 3), 100, np.uint8)
    out = drawn.both(colour.tint, x, drawn.words(2, len(x)), 4).reshape(-1, 3).astype(int) - 96
    assert (out.min(), out.max()) == (0, 8)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        counts = np.bincount(out[:, a] * 9 + out[:, b], minlength=81)
        chi2 = float(((counts - 100) ** 2 / 100).sum())
        assert abs(chi2 - 80) < 4 * 160**0.5


def test_shifts_have_the_covariance_of_the_matrix_times_its_transpose(drawn):
    matrix = np.array([[6, 1, 0], [1, 5, 2], [0, 2, 4]]) * 65536
    x = np.full((20_000, 1, 1, 3), 128, np.uint8)
    moved = drawn.both(colour.shift, x, drawn.words(3, len(x)), matrix).reshape(-1, 3) - 128.0
    wanted = (matrix // 65536) @ (matrix // 65536).T
    np.testing.assert_allclose(np.cov(moved.T, bias=True), wanted, rtol=0, atol=1.2)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=0.2)


def test_the_table_of_deviates_is_symmetric_with_the_variance_of_a_normal_one():
    table = philox.QUANTILES.astype(np.int64)
    np.testing.assert_array_equal(table, -table[::-1])
    assert np.all(np.diff(table) >= 0)
    assert abs((table**2).mean() / 4096**2 - 1) < 0.0011
