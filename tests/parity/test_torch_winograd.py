"""The rounding errors of Winograd's convolutions beside those of PyTorch's, both against float64."""

import numpy as np
import pytest

from dptrain.kernels import winograd

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dptrain[parity]'")


def operands(shape):
    n, h, w, c, k = shape
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(n, h, w, c)), rng.normal(size=(k, c, 3, 3)), rng.normal(size=(n, h, w, k))
    return [a.astype(np.float32) for a in drawn]


@pytest.fixture(autouse=True)
def one_thread():
    """The order of PyTorch's additions depends on the number of threads: with two, some gradients are more exact."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def outputs_and_weight_gradients(x, weights, dy, dtype):
    """By PyTorch, in its fastest layout."""
    channels = torch.channels_last
    images = torch.from_numpy(x).permute(0, 3, 1, 2).to(dtype).contiguous(memory_format=channels)
    taps = torch.from_numpy(weights).to(dtype).contiguous(memory_format=channels).requires_grad_()
    y = torch.nn.functional.conv2d(images, taps, padding=1)
    y.backward(torch.from_numpy(dy).permute(0, 3, 1, 2).to(dtype).contiguous(memory_format=channels))
    return y.detach().permute(0, 2, 3, 1).numpy().astype(np.float64), taps.grad.numpy().astype(np.float64)


def error(computed, exact):
    return np.linalg.norm(computed - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize(
    "shape",
    [
        (32, 32, 32, 16, 16),
        (32, 16, 16, 32, 32),
        (32, 8, 8, 64, 64),
        (32, 14, 14, 16, 16),
        (32, 7, 7, 32, 32),
    ],
    ids=str,
)
def test_the_larger_tile_has_at_most_two_and_a_half_times_the_error_of_pytorch(shape):
    """In float32, one thread: layers with stride 1 of ResNet-20 on 32 x 32 pixels, and on 28 x 28 with 8 filters."""
    x, weights, dy = operands(shape)
    exact = outputs_and_weight_gradients(x, weights, dy, torch.float64)
    theirs = outputs_and_weight_gradients(x, weights, dy, torch.float32)
    ours = winograd.forward(x, weights, 4), winograd.weight_gradient(x, dy, 4)
    ratios = [error(a, e) / error(b, e) for a, b, e in zip(ours, theirs, exact, strict=True)]
    assert max(ratios) <= 2.5, ratios
