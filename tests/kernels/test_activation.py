"""ReLU, sigmoid, tanh, softmax, log-softmax: compiled against the reference; NaN stays NaN."""

import numpy as np
import pytest

from dptrain.kernels import activation
from dptrain.kernels.reference import activation as reference

POINTS = np.concatenate([np.linspace(-90, 90, 4001), np.linspace(-1e-3, 1e-3, 2001), [0.0, 1e-30, -3e-5]])


def test_relu_keeps_what_is_positive():
    """The first generation of the predecessors shipped min(x, 0)."""
    x = np.array([-2, -1, 0, 1, 2], np.float32)
    assert activation.relu(x).tolist() == [0, 0, 0, 1, 2]


def test_relu_and_its_gradient_equal_the_reference_nan_included():
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(3, 5, 7)).astype(np.float32), rng.normal(size=(3, 5, 7)).astype(np.float32)
    x[0, 0, :3] = np.nan, np.inf, -np.inf
    y = activation.relu(x)
    np.testing.assert_array_equal(y, reference.relu(x))
    np.testing.assert_array_equal(activation.relu_gradient(dy, y), reference.relu_gradient(dy, y))


def test_relu_does_not_change_its_input():
    x = np.array([-1, 1], np.float32)
    activation.relu(x)
    assert x.tolist() == [-1, 1]


def ulps(computed, exact):
    return (np.abs(computed.astype(np.float64) - exact) / np.spacing(np.abs(exact.astype(np.float32)))).max()


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_the_function_is_rounded_right_and_its_gradient_is_the_references(name):
    x = POINTS.astype(np.float32)
    exact = getattr(reference, name)(x.astype(np.float64))
    y = getattr(activation, name)(x)
    assert ulps(y, exact) <= 0.5001
    dy = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    wide = getattr(reference, f"{name}_gradient")(dy.astype(np.float64), y.astype(np.float64))
    assert ulps(getattr(activation, f"{name}_gradient")(dy, y), wide) <= 0.5001


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 10), (2, 3, 4, 7)])
def test_a_row_function_and_its_gradient_equal_the_reference(name, shape):
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(0, 5, size=shape).astype(np.float32) for _ in range(2))
    y = getattr(activation, name)(x)
    np.testing.assert_allclose(y, getattr(reference, name)(x.astype(np.float64)), rtol=2e-7, atol=2e-7)
    expected = getattr(reference, f"{name}_gradient")(dy.astype(np.float64), y.astype(np.float64))
    np.testing.assert_allclose(getattr(activation, f"{name}_gradient")(dy, y), expected, rtol=2e-6, atol=2e-6)


def test_scores_that_would_overflow_exp_give_finite_results():
    x = np.array([[1000.0, -1000.0, 999.0]], np.float32)
    assert np.isfinite(activation.softmax(x)).all()
    assert activation.log_softmax(x)[0, 1] < -1999
    assert activation.sigmoid(x)[0].tolist() == [1.0, 0.0, 1.0]
    assert activation.tanh(x)[0].tolist() == [1.0, -1.0, 1.0]


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softmax", "log_softmax"])
def test_nan_stays_nan(name):
    assert np.isnan(getattr(activation, name)(np.array([[1.0, np.nan]], np.float32))[0, 1])
