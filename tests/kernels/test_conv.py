"""The compiled convolution against the reference in float64, forward and both gradients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dptrain.kernels import conv
from dptrain.kernels.codegen import registers
from dptrain.kernels.reference import conv as reference

# channels around one vector, two vectors and no multiple of either; sides around a block of pixels and prime
CHANNELS = st.sampled_from([1, 3, 5, 8, 16, 17, 32])


def close(computed, exact, terms):
    """Within the rounding of a chain of `terms` float32 fused multiply-adds."""
    return np.abs(computed - exact).max() <= 4 * np.sqrt(terms) * np.finfo(np.float32).eps * np.abs(exact).max()


@st.composite
def problems(draw):
    taps = draw(st.sampled_from([1, 2, 3, 5]))
    size = (draw(st.integers(taps, 19)), draw(st.integers(taps, 19)))
    pad = draw(st.integers(0, taps - 1))
    shape = draw(st.integers(1, 3)), *size, draw(CHANNELS)
    return shape, draw(CHANNELS), taps, draw(st.sampled_from([1, 2, 3])), pad


def operands(shape, k, taps, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.normal(size=(k, shape[3], taps, taps)).astype(np.float32)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(problems())
def test_forward_and_both_gradients_equal_the_reference(problem):
    shape, k, taps, stride, pad = problem
    x, w = operands(shape, k, taps)
    y = conv.forward(x, w, stride, pad, 4)
    exact = reference.forward(x.astype(np.float64), w.astype(np.float64), stride, pad, 0)
    assert y.shape == exact.shape
    assert y.dtype == np.float32
    assert close(y, exact, w[0].size)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    dx = conv.input_gradient(dy, w, shape[1:3], stride, pad, 4)
    exact = reference.input_gradient(dy.astype(np.float64), w.astype(np.float64), shape[1:3], stride, pad, 0)
    assert close(dx, exact, k * taps**2)
    dw = conv.weight_gradient(x, dy, (taps, taps), stride, pad, 4)
    exact = reference.weight_gradient(x.astype(np.float64), dy.astype(np.float64), (taps, taps), stride, pad, 0)
    assert close(dw, exact, y[..., 0].size)


@pytest.mark.parametrize(
    ("h", "w", "c", "k", "stride"),
    [
        (32, 32, 3, 16, 1),
        (28, 28, 1, 8, 1),
        (32, 32, 16, 32, 2),
        (7, 7, 32, 32, 1),
        (16, 12, 64, 64, 1),
        (64, 48, 3, 16, 1),
    ],
)
def test_shapes_of_residual_networks_equal_the_reference(h, w, c, k, stride):
    x, weights = operands((2, h, w, c), k, 3)
    y = conv.forward(x, weights, stride, 1, 4)
    assert close(y, reference.forward(x.astype(np.float64), weights.astype(np.float64), stride, 1, 0), 9 * c)
    dx = conv.input_gradient(y, weights, (h, w), stride, 1, 4)
    exact = reference.input_gradient(y.astype(np.float64), weights.astype(np.float64), (h, w), stride, 1, 0)
    assert close(dx, exact, 9 * k)


def chains(fma, x, weights, dy, stride, pad):
    """y, dx and dw in the order of additions that kernels/conv.py promises, one fused multiply-add after another."""
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    _, p, q, k = dy.shape
    taps = [(r, s) for r in range(weights.shape[2]) for s in range(weights.shape[3])]

    def seen(r, s):
        return np.s_[:, r : r + stride * p : stride, s : s + stride * q : stride]

    y, dx = np.zeros_like(dy), np.zeros_like(padded)
    for c in range(x.shape[3]):
        for r, s in taps:
            y = fma(padded[seen(r, s)][..., c, None], weights[:, c, r, s], y)
    for o in range(k):
        for r, s in reversed(taps):
            dx[seen(r, s)] = fma(dy[..., o, None], weights[o, :, r, s], dx[seen(r, s)])
    dw = np.zeros_like(weights)
    for image in range(len(x)):
        for r, s in taps:
            under, total = padded[seen(r, s)][image], np.zeros_like(dw[:, :, r, s])
            for i in range(p):
                for j in range(q):
                    total = fma(under[i, j], dy[image, i, j, :, None], total)
            dw[:, :, r, s] += total
    return y, dx[:, pad : pad + x.shape[1], pad : pad + x.shape[2]], dw


@pytest.mark.parametrize("stride", [1, 2])
def test_every_bit_is_that_of_the_order_of_additions_that_is_written_down(fma, stride):
    """What the name of the arithmetic stands for (isa.NUMERICS): a kernel with other bits needs another name."""
    x, weights = operands((2, 7, 6, 5), 17, 3)
    y = conv.forward(x, weights, stride, 1, 4)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    dx, dw = (
        conv.input_gradient(dy, weights, x.shape[1:3], stride, 1, 4),
        conv.weight_gradient(x, dy, (3, 3), stride, 1, 4),
    )
    expected = chains(fma, x, weights, dy, stride, 1)
    assert [a.tobytes() for a in (y, dx, dw)] == [a.tobytes() for a in expected]


def test_the_reference_is_the_derivative_of_itself():
    """<dy, conv(x, w)> is linear in x and in w, so both gradients follow from it exactly."""
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(2, 7, 6, 3)), rng.normal(size=(4, 3, 3, 3))
    for stride in (1, 2):
        y = reference.forward(x, w, stride, 1, 0)
        dy = rng.normal(size=y.shape)
        inner = (dy * y).sum()
        assert np.isclose((reference.input_gradient(dy, w, (7, 6), stride, 1, 0) * x).sum(), inner)
        assert np.isclose((reference.weight_gradient(x, dy, (3, 3), stride, 1, 0) * w).sum(), inner)


def test_pixels_that_no_tap_reaches_have_zero_gradient():
    dy, w = np.ones((1, 2, 2, 16), np.float32), np.ones((16, 8, 1, 1), np.float32)
    dx = conv.input_gradient(dy, w, (4, 4), 2, 0, 4)
    assert (dx[:, ::2, ::2] == 16).all()
    dx[:, ::2, ::2] = 0
    assert not dx.any()


def test_an_image_does_not_depend_on_its_batch_mates():
    x, w = operands((3, 9, 9, 5), 8, 3)
    assert (conv.forward(x, w, 1, 1, 4)[1:2] == conv.forward(x[1:2], w, 1, 1, 4)).all()


def test_inputs_are_not_changed():
    x, w = operands((1, 5, 5, 3), 8, 3)
    before = x.copy(), w.copy()
    dy = conv.forward(x, w, 1, 1, 4)
    kept = dy.copy()
    conv.input_gradient(dy, w, (5, 5), 1, 1, 4)
    conv.weight_gradient(x, dy, (3, 3), 1, 1, 4)
    assert (x == before[0]).all()
    assert (w == before[1]).all()
    assert (dy == kept).all()


def test_other_dtypes_are_refused():
    with pytest.raises(TypeError, match="float16"):
        conv.forward(np.zeros((1, 3, 3, 1), np.float16), np.zeros((1, 1, 3, 3), np.float16), 1, 1, 4)


@given(st.integers(1, 400), st.integers(1, 24))
def test_a_split_covers_the_whole_in_parts_within_the_limit(total, limit):
    size, big, small = registers.split(total, limit)
    assert size * small + (size + 1) * big == total
    assert size + (big > 0) <= limit
    assert small > 0
