"""Saliency maps lie on the image that is shown, and SmoothGrad is the mean of the gradients of noisy copies."""

import numpy as np

from dptrain.explain import saliency
from dptrain.explain.saliency import draw_saliency, gradient, smooth_gradient


class Linear:
    """logits = x . w, a class a column; the gradient of a score is known."""

    def __init__(self, w):
        self.w = w  # (h, w, c, classes)

    def logits(self, pixels):
        return np.tensordot(pixels, self.w, 3)

    def gradient(self, pixels, weights):
        return self.logits(pixels), np.einsum("nk,hwck->nhwc", weights, self.w)


def network():
    return Linear(np.random.default_rng(0).standard_normal((4, 4, 3, 5)).astype(np.float32))


def images():
    return np.random.default_rng(1).integers(0, 256, (2, 4, 4, 3), np.uint8)


def test_the_map_is_the_strongest_channel_of_the_gradient_of_the_images_own_class():
    net, classes = network(), np.array([4, 1])
    found = gradient(net, images(), classes)
    for i, label in enumerate(classes):
        np.testing.assert_allclose(found[i], np.abs(net.w[..., label]).max(axis=2), rtol=1e-6)


def test_a_map_is_aligned_with_the_image(network, pictures):
    """What lies outside of the one pixel that counts has no saliency, and it stays in place for mirrored images."""
    w = np.zeros((4, 4, 3, 5), np.float32)
    w[1, 2, 0, 3] = 2
    found = gradient(Linear(w), images(), np.array([3, 3]))
    assert np.argwhere(found[0] > 0).tolist() == [[1, 2]]
    one = gradient(network, pictures[:1], np.array([2]))
    moved = gradient(network, pictures[:1] + np.uint8(0), np.array([2]))
    np.testing.assert_array_equal(one, moved)


def test_smoothgrad_of_a_linear_score_is_its_gradient():
    net, classes = network(), np.array([4, 1])
    smooth = smooth_gradient(net, images(), classes)
    np.testing.assert_allclose(smooth, gradient(net, images(), classes), rtol=1e-5)


def test_smoothgrad_is_the_mean_over_noisy_copies_and_the_same_every_time(network, pictures, monkeypatch):
    classes = np.array([1, 4])
    first = smooth_gradient(network, pictures[:2], classes)
    np.testing.assert_array_equal(first, smooth_gradient(network, pictures[:2], classes))
    assert np.abs(first - smooth_gradient(network, pictures[:2], classes, seed=1)).max() > 0
    monkeypatch.setattr(saliency, "SPREAD", 0.0)
    without = smooth_gradient(network, pictures[:2], classes)
    np.testing.assert_allclose(without, gradient(network, pictures[:2], classes), rtol=1e-4, atol=1e-9)


def test_the_picture_shows_the_very_pixels():
    shown = images()
    maps = [
        ("gradient", np.zeros((2, 4, 4), np.float32)),
        ("SmoothGrad", np.eye(4, dtype=np.float32)[None].repeat(2, 0)),
    ]
    drawn = draw_saliency(shown, maps, ["a", "b"])
    grid = np.array(drawn.axes).reshape(4, 2)
    for column in range(2):
        np.testing.assert_array_equal(grid[0, column].images[0].get_array(), shown[column])
        np.testing.assert_array_equal(grid[3, column].images[0].get_array(), shown[column])
        assert grid[1, column].images[0].get_array().max() == 0  # a constant map is black, not an error
    assert [grid[0, c].get_title() for c in range(2)] == ["a", "b"]
    assert drawn.get_supxlabel().startswith("bright: the score of the class above depends much")
