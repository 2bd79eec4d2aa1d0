"""The differentiable copy of a network: it scores as the network does, and its gradient is the true one."""

import numpy as np
import pytest

from dptrain.errors import UsageError
from dptrain.explain.frozen import Frozen
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.pooling import GlobalAverage


def test_it_scores_as_the_network_does_at_evaluation(network, trained_logits, pictures):
    np.testing.assert_allclose(
        network.logits(pictures.astype(np.float32)), trained_logits(pictures), rtol=1e-4, atol=1e-5
    )


def test_a_score_does_not_depend_on_batch_mates(network, pictures):
    pixels = pictures.astype(np.float64)
    np.testing.assert_allclose(network.logits(pixels)[3:4], network.logits(pixels[3:4]), rtol=1e-12)


@pytest.mark.parametrize("of", ["score", "loss"])
def test_the_gradient_by_the_pixels_is_that_of_differences(network, pictures, of):
    pixels, classes = pictures[:2].astype(np.float64), np.array([1, 4])
    one_hot = np.eye(5)[classes]

    def value(x):
        logits = network.logits(x)
        if of == "score":
            return (one_hot * logits).sum()
        return (np.log(np.exp(logits).sum(axis=1)) - (one_hot * logits).sum(axis=1)).sum()

    gradient = network.gradient(pixels, one_hot)[1] if of == "score" else network.loss_gradient(pixels, classes)[1]
    rng = np.random.default_rng(2)
    for _ in range(8):  # along random directions: every pixel counts
        direction = rng.standard_normal(pixels.shape)
        h = 1e-5
        difference = (value(pixels + h * direction) - value(pixels - h * direction)) / (2 * h)
        assert (gradient * direction).sum() == pytest.approx(difference, rel=1e-6)


def test_float32_has_the_gradient_of_float64(network, pictures):
    one_hot = np.eye(5)[np.arange(12) % 5]
    wide = network.gradient(pictures.astype(np.float64), one_hot)[1]
    narrow = network.gradient(pictures.astype(np.float32), one_hot)[1]
    assert np.abs(narrow - wide).max() < 1e-4 * np.abs(wide).max()


def test_the_weights_it_was_given_stay_as_they_are(weights, pictures):
    net, params, buffers = weights
    before = params.copy(), buffers.copy()
    Frozen(net.network, params, buffers, np.zeros(3), np.ones(3)).loss_gradient(
        pictures.astype(np.float32), np.zeros(12, int)
    )
    np.testing.assert_array_equal(params, before[0])
    np.testing.assert_array_equal(buffers, before[1])


class Mute(Convolution):
    """A first layer of another program that has no gradient of its input."""

    __slots__ = ()

    def __call__(self, run, x):
        y, backward = super().__call__(run, x)

        def without(dy, gradients):
            backward(dy, gradients)
            return np.empty(0)

        return y, without


def test_a_network_without_a_gradient_of_its_input_is_refused(pictures):
    net = Sequential((Mute("conv1", 3, 5), GlobalAverage()))
    frozen = Frozen(net, np.zeros(135, np.float32), np.zeros(0, np.float32), np.zeros(3), np.ones(3))
    with pytest.raises(UsageError, match="cannot be explained"):
        frozen.gradient(pictures.astype(np.float64), np.ones((12, 5)))
