"""A network of PyFunt, computed here as PyFunt computed it, and what we make of its model.npy: the same scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dptrain.errors import DataError
from dptrain.interop.pyfunt import our_network
from dptrain.nn.layer import Run
from dptrain.nn.network import ImageShape
from dptrain.nn.resnet import resnet

PATH = Path("model.npy")
EPSILON = 1e-5


def weights(n=2, filters=4, hidden=(), classes=3):
    """As ResNet._init_* made them, but random where they were constants, so that nothing cancels by chance."""
    rng = np.random.default_rng(0)
    widths = [filters] * (2 * n + 1) + [2 * filters] * (2 * n) + [4 * filters] * (2 * n)
    found = {}
    for i, (before, width) in enumerate(zip([3, *widths], widths, strict=False), 1):
        found |= {
            f"W{i}": rng.standard_normal((width, before, 3, 3)) / np.sqrt(9 * before),
            f"b{i}": rng.standard_normal(width),
        }
        found |= {f"gamma{i}": rng.uniform(0.3, 1, width), f"beta{i}": rng.standard_normal(width)}
    inputs, at = 4 * filters, 6 * n + 3
    for width in hidden:
        found |= {f"W{at}": rng.standard_normal((inputs, width)), f"b{at}": rng.standard_normal(width)}
        found |= {f"gamma{at}": rng.uniform(0.3, 1, width), f"beta{at}": rng.standard_normal(width)}
        inputs, at = width, at + 1
    return found | {f"W{at}": rng.standard_normal((inputs, classes)), f"b{at}": rng.standard_normal(classes)}


def pyfunt(found, x, *, upside_down):
    """Its forward pass, statistics of the batch; x (n, c, h, w). No im2col."""

    def rectified(z):
        return np.minimum(z, 0) if upside_down else np.maximum(z, 0)

    def normalised(z, i, axes):
        shape = [1, -1] + [1] * (z.ndim - 2)
        z = (z - z.mean(axes, keepdims=True)) / np.sqrt(z.var(axes, keepdims=True) + EPSILON)
        return found[f"gamma{i}"].reshape(shape) * z + found[f"beta{i}"].reshape(shape)

    def convolved(z, i):
        w = found[f"W{i}"]
        stride = 2 if w.shape[0] == 2 * w.shape[1] else 1
        frame = ((1, 0), (1, 0)) if stride == 2 else ((1, 1), (1, 1))  # above and to the left only
        z = np.pad(z, ((0, 0), (0, 0), *frame))
        side = (z.shape[2] - 3) // stride + 1
        out = np.zeros((len(z), w.shape[0], side, side))
        for r in range(3):
            for s in range(3):
                seen = z[:, :, r : r + stride * side : stride, s : s + stride * side : stride]
                out += np.einsum("nchw,kc->nkhw", seen[:, :, :side, :side], w[:, :, r, s])
        return out + found[f"b{i}"].reshape(1, -1, 1, 1)

    def layer(z, i):
        return rectified(normalised(convolved(z, i), i, (0, 2, 3)))

    def skipped(z, channels):
        if z.shape[1] == channels:
            return z
        n, c, h, w = z.shape
        means = z.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
        return np.pad(means, ((0, 0), (c // 2, c // 2), (0, 0), (0, 0)))

    last = max(i for i in range(1, 100) if found.get(f"W{i}", np.zeros(1)).ndim == 4)
    h = layer(x, 1)
    for i in range(2, last, 2):
        h = layer(layer(h, i), i + 1) + skipped(h, len(found[f"W{i}"]))
    h, at = h.mean((2, 3)), last + 2
    while f"gamma{at}" in found:
        h, at = rectified(normalised(h @ found[f"W{at}"] + found[f"b{at}"], at, (0,))), at + 1
    return h @ found[f"W{at}"] + found[f"b{at}"]


@pytest.mark.parametrize("upside_down", [True, False])
@pytest.mark.parametrize("hidden", [(), (16,), (16, 6)])
def test_scores_are_those_of_pyfunt(hidden, upside_down):
    found = weights(hidden=hidden)
    ours = our_network(found, PATH, upside_down=upside_down)
    assert (ours.config.n, ours.config.filters, ours.config.hidden, ours.classes) == (2, 4, hidden, 3)
    network = resnet(ours.config, ImageShape(16, 16, 3), ours.classes).network
    x = np.random.default_rng(1).standard_normal((8, 3, 16, 16))
    params = {spec.name: ours.tensors[spec.name].astype(np.float64) for spec in network.params}
    assert set(params) == set(ours.tensors)
    got, _ = network(Run(params, {}, training=True), np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(got, pyfunt(found, x, upside_down=upside_down), rtol=1e-3, atol=1e-4)


def test_a_model_that_is_no_residual_network_of_pyfunt_is_refused_in_one_line():
    found = weights()
    for change, text in (
        ({name: a for name, a in found.items() if name != "W13"}, "12 convolutions and 1 linear layers; PyFunt's"),
        ({name: a for name, a in found.items() if name != "W15"}, "13 convolutions and 0 linear layers"),
        ({name: a for name, a in found.items() if name != "beta4"}, "has no beta4"),
        ({}, "0 convolutions"),
    ):
        with pytest.raises(DataError, match=text):
            our_network(change, PATH)
