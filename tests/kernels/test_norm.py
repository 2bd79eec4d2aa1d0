"""BatchNorm's sums and passes: compiled against reference in float64."""

import numpy as np
import pytest

from dptrain.kernels import norm
from dptrain.kernels.reference import norm as reference

SHAPES = [(1, 1, 1), (5, 1, 10), (3, 49, 8), (2, 64, 17), (32, 196, 16)]


@pytest.fixture(params=SHAPES, ids=str)
def operands(request):
    rng = np.random.default_rng(0)
    n, p, c = request.param
    x = (rng.normal(size=(n, p, c)) * 3 + rng.normal(size=c) * 5).astype(np.float32)
    return x, rng.normal(size=(n, p, c)).astype(np.float32), rng.normal(size=c).astype(np.float32)


def test_moments_equal_the_reference(operands):
    x, _, _ = operands
    mean, variance = norm.moments(x)
    ref_mean, ref_variance = reference.moments(x.astype(np.float64))
    assert np.allclose(mean, ref_mean, rtol=1e-6, atol=1e-6)
    assert np.allclose(variance, ref_variance, rtol=1e-5, atol=1e-9)


def test_variance_survives_a_mean_far_from_zero():
    """E[x^2] - E[x]^2 in float32 would give 0 or less here."""
    x = (10_000 + np.random.default_rng(0).normal(size=(4, 100, 8))).astype(np.float32)
    _, variance = norm.moments(x)
    assert np.allclose(variance, x.astype(np.float64).var((0, 1)), rtol=1e-3)


def test_normalise_and_reductions_and_input_gradient_equal_the_reference(operands):
    x, dy, mean = operands
    scale, shift = mean + 2, mean - 1
    wide = x.astype(np.float64)
    expected = reference.normalise(wide, scale, shift)
    assert np.allclose(norm.normalise(x, scale, shift), expected, rtol=1e-5, atol=1e-5)
    computed, exact = norm.reductions(dy, x, mean), reference.reductions(dy.astype(np.float64), wide, mean)
    tolerance = 1e-5 * np.abs(dy).sum() * max(1.0, np.abs(x - mean).max()) / dy.shape[2]
    for one, other in zip(computed, exact, strict=True):
        assert np.abs(one - other).max() <= tolerance
    coefficients = (mean, scale, shift, mean)
    exact = reference.input_gradient(dy.astype(np.float64), x.astype(np.float64), coefficients)
    assert np.allclose(norm.input_gradient(dy, x, coefficients), exact, rtol=1e-4, atol=1e-4)


def test_nan_is_not_swallowed():
    x = np.ones((2, 4, 8), np.float32)
    x[1, 2, 3] = np.nan
    mean, _ = norm.moments(x)
    assert np.isnan(mean[3])
    assert not np.isnan(np.delete(mean, 3)).any()
