"""The short way to a 3 x 3 convolution: equal to the reference, and no less exact than the direct way."""

import numpy as np
import pytest

from dptrain.kernels.conv import reference, winograd
from dptrain.kernels.intrinsics import plan

SHAPES = [
    (1, 2, 2, 8, 8),
    (2, 32, 32, 16, 16),
    (3, 7, 7, 32, 32),
    (1, 9, 5, 8, 24),
    (2, 8, 8, 64, 64),
    (1, 1, 3, 16, 8),
    (33, 4, 4, 8, 16),
]


def operands(shape):
    n, h, w, c, k = shape
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(n, h, w, c)), rng.normal(size=(k, c, 3, 3))
    return x.astype(np.float32), weights.astype(np.float32), rng.normal(size=(n, h, w, k)).astype(np.float32)


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


def relative(computed, exact):
    return np.linalg.norm(computed - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_both_gradients_equal_the_reference(shape):
    x, weights, dy = operands(shape)
    exact_x, exact_w, exact_dy = wide(x, weights, dy)
    assert relative(winograd.forward(x, weights), reference.forward(exact_x, exact_w, 1, 1)) < 1e-6
    dx = winograd.input_gradient(dy, weights)
    assert relative(dx, reference.input_gradient(exact_dy, exact_w, x.shape[1:3], 1, 1)) < 1e-6
    dw = winograd.weight_gradient(x, dy)
    assert relative(dw, reference.weight_gradient(exact_x, exact_dy, (3, 3), 1, 1)) < 1e-6


def test_an_image_does_not_depend_on_its_batch_mates():
    x, weights, _ = operands((5, 6, 6, 8, 8))
    np.testing.assert_array_equal(winograd.forward(x, weights)[3:4], winograd.forward(x[3:4], weights))


def test_only_three_by_three_stride_one_over_channels_in_eights_goes_this_way():
    assert winograd.fits(16, 32, (3, 3), 1, 1)
    for changed in [
        (3, 16, (3, 3), 1, 1),
        (16, 10, (3, 3), 1, 1),
        (16, 16, (1, 1), 1, 1),
        (16, 16, (3, 3), 2, 1),
        (16, 16, (3, 3), 1, 0),
    ]:
        assert not winograd.fits(*changed)


@pytest.mark.parametrize("channels", [8, 16, 24, 40, 64])
def test_register_blocks_divide_what_they_cover(channels):
    vectors, tiles = plan.winograd_blocks(channels)
    assert plan.TILES % tiles == 0
    assert channels % (plan.lanes(channels) * vectors) == 0
    vectors, inputs = plan.winograd_sums(channels, channels)
    assert channels % (plan.lanes(channels) * vectors) == channels % inputs == 0
