"""Average pooling: compiled against reference; gradients are whole arrays of their own."""

import numpy as np
import pytest

from dptrain.kernels import pool
from dptrain.kernels.pool import reference


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 7, 7, 8), (3, 8, 8, 64), (2, 16, 12, 17)])
def test_global_average_and_gradient_equal_the_reference(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    y = pool.global_average(x)
    assert np.allclose(y, reference.global_average(x.astype(np.float64)), atol=1e-6)
    dx = pool.global_average_gradient(y, shape[1:3])
    np.testing.assert_array_equal(dx, reference.global_average_gradient(y, shape[1:3]))


def test_the_global_gradient_can_be_written_without_touching_its_neighbours():
    """The seed returned a stride-0 view here; an in-place ReLU after it zeroed whole channels."""
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
