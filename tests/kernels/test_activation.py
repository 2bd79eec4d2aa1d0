"""ReLU: the right sign, NaN kept, gradient only where it passed."""

import numpy as np

from dptrain.kernels import activation
from dptrain.kernels.activation import reference


def test_relu_keeps_what_is_positive():
    """The first generation of the seed shipped min(x, 0)."""
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
