"""Saliency maps lie on the image that is shown, and SmoothGrad is the mean of the gradients of noisy copies."""

import numpy as np

from dptrain.explain import saliency
from dptrain.explain.saliency import draw_saliency, gradient, smooth_gradient


class Linear:
    """logits = x . w, one column per class: the gradient of a score is known."""

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


class Mirrored:
    """Sees every image mirrored left to right."""

    def __init__(self, network):
        self.network = network

    def logits(self, pixels):
        return self.network.logits(np.ascontiguousarray(pixels[:, :, ::-1]))

    def gradient(self, pixels, weights):
        logits, gradients = self.network.gradient(np.ascontiguousarray(pixels[:, :, ::-1]), weights)
        return logits, gradients[:, :, ::-1]


def test_only_the_pixel_that_the_score_depends_on_is_bright():
    w = np.zeros((4, 4, 3, 5), np.float32)
    w[1, 2, 0, 3] = 2
    found = gradient(Linear(w), images(), np.array([3, 3]))
    assert np.argwhere(found[0] > 0).tolist() == [[1, 2]]


def test_a_network_that_sees_mirrored_images_has_the_mirrored_map(network, pictures):
    classes = np.array([2, 0])
    plain = gradient(network, pictures[:2], classes)
    mirrored = gradient(Mirrored(network), np.ascontiguousarray(pictures[:2, :, ::-1]), classes)
    assert np.abs(plain - plain[:, :, ::-1]).max() > 0.1 * plain.max(), "a symmetric map would say nothing"
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_a_map_is_bright_where_changing_the_pixel_changes_the_score(network, pictures):
    """At the brightest pixel, at its mirror image and at its transpose, the map is the slope of the score."""
    label, width, step = 2, pictures.shape[2], 1e-3
    found = gradient(network, pictures[:1], np.array([label]))[0]
    y, x = np.unravel_index(found.argmax(), found.shape)
    for at in {(y, x), (y, width - 1 - x), (x, y)}:
        slopes = []
        for channel in range(pictures.shape[3]):
            scores = []
            for sign in (step, -step):
                pixels = pictures[:1].astype(np.float64)
                pixels[(0, *at, channel)] += sign
                scores.append(float(network.logits(pixels)[0, label]))
            slopes.append(abs(scores[0] - scores[1]) / (2 * step))
        np.testing.assert_allclose(found[at], max(slopes), rtol=1e-3, atol=1e-5 * found.max())


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


def test_the_picture_shows_the_pixels_that_the_map_belongs_to():
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
    assert drawn.get_supxlabel().startswith("bright: the score of the class above depends\nstrongly on this pixel")
