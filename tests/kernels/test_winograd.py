"""Winograd's 3 x 3 convolution: equal to the reference, and as exact as the direct convolution."""

import numpy as np
import pytest

from dptrain.kernels import winograd
from dptrain.kernels.codegen import registers
from dptrain.kernels.reference import conv as reference

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


# --- the order of additions that kernels/winograd.py promises; a tile is an array (rows, columns, ...)


def both_ways(transform, tile):
    """Down every column, then along every row."""
    down = np.stack(transform(*tile))
    return np.stack(transform(*np.moveaxis(down, 1, 0)), axis=1)


def of_inputs(a, b, c, d):
    return a - c, b + c, c - b, b - d


def of_products(a, b, c, d):
    return (a + b) + c, (b - c) - d


def of_gradients(a, b):
    return a, a + b, a - b, -b


def of_weights(a, b, c):
    half = np.float32(0.5)
    return a, ((a + c) + b) * half, ((a + c) - b) * half, c


def of_sums(a, b, c, d):
    both, difference = (b + c) * np.float32(0.5), (b - c) * np.float32(0.5)
    return a + both, difference, both + d


def tiles(x, side, border):
    """x (n, h, w, c) in zeros up to even sides -> (side, side, tile, c): two pixels from one tile to the next."""
    n, h, w, _ = x.shape
    frame = np.pad(x, ((0, 0), (border, border + h % 2), (border, border + w % 2), (0, 0)))
    corners = [(i, r, s) for i in range(n) for r in range(0, h, 2) for s in range(0, w, 2)]
    return np.stack([frame[i, r : r + side, s : s + side] for i, r, s in corners], axis=2)


def convolved(fma, x, weights):
    n, h, w, _ = x.shape
    v, u = both_ways(of_inputs, tiles(x, 4, 1)), both_ways(of_weights, np.transpose(weights, (2, 3, 0, 1)))
    m = np.zeros((4, 4, v.shape[2], len(weights)), np.float32)
    for c in range(x.shape[3]):
        m = fma(v[..., c, None], u[:, :, None, :, c], m)
    rows, columns = -(-h // 2), -(-w // 2)
    y = both_ways(of_products, m).reshape(2, 2, n, rows, columns, -1)
    return np.transpose(y, (2, 3, 0, 4, 1, 5)).reshape(n, 2 * rows, 2 * columns, -1)[:, :h, :w]


def weights_gradient(fma, x, dy):
    v, d = both_ways(of_inputs, tiles(x, 4, 1)), both_ways(of_gradients, tiles(dy, 2, 0))
    sums = np.zeros((4, 4, dy.shape[3], x.shape[3]), np.float32)
    for first in range(0, v.shape[2], registers.TILES):
        block = np.zeros_like(sums)
        for tile in range(first, min(first + registers.TILES, v.shape[2])):
            block = fma(v[:, :, tile, None, :], d[:, :, tile, :, None], block)
        sums += block
    return np.transpose(both_ways(of_sums, sums), (2, 3, 0, 1))


@pytest.mark.parametrize("shape", [(3, 6, 5, 8, 16), (1, 7, 7, 32, 32)], ids=str)
def test_every_bit_is_that_of_the_order_of_additions_that_is_written_down(fma, shape):
    """What the name of the arithmetic stands for (isa.NUMERICS): a kernel with other bits needs another name."""
    x, weights, dy = operands(shape)
    mirrored = np.ascontiguousarray(np.swapaxes(weights, 0, 1)[:, :, ::-1, ::-1])
    assert winograd.forward(x, weights).tobytes() == convolved(fma, x, weights).tobytes()
    assert winograd.input_gradient(dy, weights).tobytes() == convolved(fma, dy, mirrored).tobytes()
    assert winograd.weight_gradient(x, dy).tobytes() == weights_gradient(fma, x, dy).tobytes()


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
    vectors, tiles = registers.winograd_blocks(channels)
    assert registers.TILES % tiles == 0
    assert channels % (registers.lanes(channels) * vectors) == 0
    vectors, inputs = registers.winograd_sums(channels, channels)
    assert channels % (registers.lanes(channels) * vectors) == channels % inputs == 0
