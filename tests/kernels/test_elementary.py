"""dptrain's exp and log against NumPy's, in units in the last place."""

import math

import numpy as np

from dptrain.kernels import elementary
from dptrain.kernels.reference import elementary as reference


def ulps(computed, exact):
    return np.abs(computed - exact) / np.spacing(np.abs(exact))


def test_exp_is_within_two_units_in_the_last_place():
    x = np.concatenate([np.linspace(-700, 700, 20_001), np.linspace(-1, 1, 20_001)])
    assert ulps(elementary.exp(x), reference.exp(x)).max() <= 2


def test_log_is_within_two_units_in_the_last_place():
    x = np.concatenate([np.logspace(-300, 300, 20_001), np.linspace(0.5, 2, 20_001)])
    x = x[x != 1]
    assert ulps(elementary.log(x), reference.log(x)).max() <= 2


def test_the_ends_of_the_range():
    assert elementary.exp(np.array([0.0, -800.0, 800.0])).tolist() == [1.0, 0.0, math.inf]
    assert elementary.log(np.array([1.0, 0.0, math.inf])).tolist() == [0.0, -math.inf, math.inf]
    assert np.isnan(elementary.exp(np.array([math.nan]))).all()
    assert np.isnan(elementary.log(np.array([math.nan, -1.0]))).all()


def test_subnormal_results_are_not_lost():
    assert elementary.exp(np.array([-744.0]))[0] > 0
    assert np.isclose(elementary.log(np.array([5e-320]))[0], math.log(5e-320))
