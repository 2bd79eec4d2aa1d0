"""Gradient descent and the norm of a gradient: the kernels have the bits of their definitions."""

import numpy as np
import pytest

from dptrain.kernels.descent import descend, sum_of_squares
from dptrain.kernels.reference import descent as reference


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("decays", [False, True])
@pytest.mark.parametrize("size", [0, 1, 7, 64, 1001])
def test_three_steps_have_the_bits_of_the_definition(size, decays, moves, nesterov):
    rng = np.random.default_rng(size)
    decay = rng.uniform(0, 0.1, size if decays else 0).astype(np.float32)
    mine = [rng.standard_normal(size).astype(np.float32), rng.standard_normal(size if moves else 0).astype(np.float32)]
    theirs = [array.copy() for array in mine]
    for _ in range(3):
        gradient = rng.standard_normal(size).astype(np.float32)
        gradient[::3] = -0.0
        kept = gradient.copy()
        rates = np.float32(0.1), np.float32(0.9)
        descend(mine[0], gradient, mine[1], decay, *rates, nesterov=nesterov)
        reference.descend(theirs[0], gradient, theirs[1], decay, *rates, nesterov=nesterov)
        assert gradient.tobytes() == kept.tobytes()
    assert mine[0].tobytes() == theirs[0].tobytes()
    assert mine[1].tobytes() == theirs[1].tobytes()


def test_a_gradient_that_must_not_be_written_is_taken_as_it_is():
    gradient = np.ones(5, np.float32)
    gradient.flags.writeable = False
    params, none = np.zeros(5, np.float32), np.zeros(0, np.float32)
    descend(params, gradient, none, none, np.float32(0.5), np.float32(0.0), nesterov=False)
    assert params.tolist() == [-0.5] * 5


@pytest.mark.parametrize("size", [0, 1, 8, 1003])
def test_the_sum_of_squares_has_the_bits_of_the_definition_and_is_the_square_of_the_norm(size):
    x = (np.random.default_rng(size).standard_normal(size) * 1e20).astype(np.float32)
    assert sum_of_squares(x) == reference.sum_of_squares(x)
    assert sum_of_squares(x) == pytest.approx(np.linalg.norm(x.astype(np.float64)) ** 2, rel=1e-12)
