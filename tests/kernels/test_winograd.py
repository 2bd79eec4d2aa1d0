"""Winograd's 3 x 3 convolution: equal to a direct one within rounding, and to its definition bit for bit."""

import numpy as np
import pytest

from dptrain.kernels import conv, winograd
from dptrain.kernels.codegen import registers
from dptrain.kernels.reference import conv as direct
from dptrain.kernels.reference import winograd as reference

#: (images, height, width, inputs, outputs); sides that are whole tiles, and sides that are not
SHAPES = [
    (2, 32, 32, 16, 16),
    (3, 7, 7, 32, 32),
    (1, 9, 5, 8, 24),
    (2, 8, 8, 64, 64),
    (1, 1, 3, 16, 8),
    (33, 4, 4, 8, 16),
]


def operands(shape, seed=0):
    n, h, w, c, k = shape
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(n, h, w, c)), rng.normal(size=(k, c, 3, 3))
    return x.astype(np.float32), weights.astype(np.float32), rng.normal(size=(n, h, w, k)).astype(np.float32)


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


def relative(computed, exact):
    return np.linalg.norm(computed - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize(("tile", "bound"), [(2, 1e-6), (4, 2e-6)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_both_gradients_equal_a_direct_convolution(shape, tile, bound):
    x, weights, dy = operands(shape)
    exact_x, exact_w, exact_dy = wide(x, weights, dy)
    assert relative(winograd.forward(x, weights, tile), direct.forward(exact_x, exact_w, 1, 1, 0)) < bound
    dx = winograd.input_gradient(dy, weights, tile)
    assert relative(dx, direct.input_gradient(exact_dy, exact_w, x.shape[1:3], 1, 1, 0)) < bound
    dw = winograd.weight_gradient(x, dy, tile)
    assert relative(dw, direct.weight_gradient(exact_x, exact_dy, (3, 3), 1, 1, 0)) < bound


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("shape", [(3, 6, 5, 8, 16), (1, 7, 7, 32, 32)], ids=str)
def test_every_bit_is_that_of_the_order_of_additions_that_is_written_down(shape, tile):
    """What the name of the arithmetic stands for (isa.NUMERICS): a kernel with other bits needs another name."""
    x, weights, dy = operands(shape)
    assert winograd.forward(x, weights, tile).tobytes() == reference.forward(x, weights, tile).tobytes()
    assert winograd.input_gradient(dy, weights, tile).tobytes() == reference.input_gradient(dy, weights, tile).tobytes()
    assert winograd.weight_gradient(x, dy, tile).tobytes() == reference.weight_gradient(x, dy, tile).tobytes()


def stacked(x):
    """All images below one another in one, with a row of zeros between them."""
    n, h, w, c = x.shape
    return np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))).reshape(1, n * (h + 1), w, c)


@pytest.mark.parametrize("shape", [(2, 32, 32, 16, 16), (8, 8, 8, 64, 64)], ids=str)
def test_the_larger_tile_has_at_most_two_and_a_half_times_the_error_of_a_chain_of_products(shape):
    """Every output and every weight's gradient of the direct convolution is here one chain of fused multiply-adds.

    tests/parity compares with PyTorch.
    """
    x, weights, dy = operands(shape)
    exact_x, exact_w, exact_dy = wide(x, weights, dy)
    exact = direct.forward(exact_x, exact_w, 1, 1, 0)
    chain = relative(conv.forward(x, weights, 1, 1, 0), exact)
    assert relative(winograd.forward(x, weights, 4), exact) <= 2.5 * chain
    exact = direct.weight_gradient(exact_x, exact_dy, (3, 3), 1, 1, 0)
    chain = relative(conv.weight_gradient(stacked(x), stacked(dy), (3, 3), 1, 1, 0), exact)
    assert relative(winograd.weight_gradient(x, dy, 4), exact) <= 2.5 * chain


@pytest.mark.parametrize("tile", [2, 4])
def test_an_image_does_not_depend_on_its_batch_mates(tile):
    x, weights, _ = operands((5, 6, 6, 8, 8))
    np.testing.assert_array_equal(winograd.forward(x, weights, tile)[3:4], winograd.forward(x[3:4], weights, tile))


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


def test_the_larger_tile_is_chosen_where_it_is_faster_and_exact_enough():
    small = [side for side in range(1, 33) if winograd.choose(16, 16, side, side, 4) == 2]
    assert small == [1, 2, 3, 4, 5, 6, 9, 10]
    assert winograd.choose(8, 16, 32, 32, 4) == winograd.choose(16, 8, 32, 32, 4) == 2
    assert winograd.choose(24, 40, 7, 32, 4) == 4
    assert all(winograd.choose(16, 16, side, side, 2) == 2 for side in range(1, 33))


@pytest.mark.parametrize("channels", [8, 16, 24, 40, 64])
def test_register_blocks_divide_what_they_cover(channels):
    vectors, tiles = registers.winograd_blocks(channels)
    assert registers.TILES % tiles == 0
    assert channels % (registers.lanes(channels) * vectors) == 0
    vectors, inputs = registers.winograd_sums(channels, channels)
    assert channels % (registers.lanes(channels) * vectors) == channels % inputs == 0
