"""Normal deviates: the inverse of the normal distribution, moments, bits, and the table in whole numbers."""

import hashlib
import statistics

import numpy as np

from dptrain.kernels import normal, philox
from dptrain.kernels.philox import Domain


def test_inverse_normal_agrees_with_the_standard_library_over_the_whole_range():
    tails = [2.0**-k for k in range(2, 54)]
    p = np.array([*philox.uniforms(5, 3, 0, 5000), *tails, *(1.0 - t for t in tails), 0.5, 0.075, 0.925])
    expected = np.array([statistics.NormalDist().inv_cdf(float(x)) for x in p])
    np.testing.assert_allclose(normal.inverse_normal(p), expected, rtol=1e-14, atol=1e-15)


def test_log_agrees_with_the_library_to_two_units_in_the_last_place():
    x = np.concatenate([philox.uniforms(6, 3, 0, 5000), 2.0 ** -np.arange(1.0, 54.0), [0.5, np.sqrt(0.5)]]) / 2
    assert np.all(np.abs(normal.log(x) - np.log(x)) <= 2 * np.spacing(np.abs(np.log(x))))


def test_normals_have_the_moments_of_a_normal_distribution():
    z = normal.normals(1, Domain.INIT, 0, 200_000)
    assert abs(z.mean()) < 0.008
    assert abs(z.var() - 1) < 0.012
    assert abs((z**3).mean()) < 0.03
    assert abs((z**4).mean() - 3) < 0.08
    assert np.isfinite(z).all()


def test_normals_of_other_streams_are_independent():
    a, b = normal.normals(1, Domain.INIT, 0, 50_000), normal.normals(1, Domain.INIT, 1, 50_000)
    assert abs(float((a * b).mean())) < 0.02


def test_normals_stay_finite_at_the_extreme_uniforms():
    odd = np.array([0 | 1, (2**53 - 1) | 1], np.int64)  # uniforms 0 and 1 - 2^-53
    z = normal.inverse_normal(odd * 2.0**-53)
    assert np.isfinite(z).all()
    assert z[0] < -8 < 8 < z[1]


def test_the_bits_of_normals_never_change():
    # The initial weights of every published run depend on them.
    normals = hashlib.sha256(normal.normals(42, Domain.INIT, 3, 10_000).tobytes()).hexdigest()
    assert normals == "33261a8a942a0038150e143149256d2c8925d51eb8f43d4bd5514d5352f39fb9"


def test_the_table_of_deviates_is_symmetric_with_the_variance_of_a_normal_one():
    table = normal.QUANTILES.astype(np.int64)
    np.testing.assert_array_equal(table, -table[::-1])
    assert np.all(np.diff(table) >= 0)
    assert abs((table**2).mean() / 4096**2 - 1) < 0.0011
