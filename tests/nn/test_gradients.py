"""The whole network's gradient against differences of its loss, in float64."""

import numpy as np
import pytest

from dptrain.kernels import loss
from dptrain.model import ParamLayout
from dptrain.nn import ImageShape, initial_params, resnet
from dptrain.nn.layer import Run
from dptrain.settings import ModelConfig

CONFIGS = [
    ModelConfig(n=n, filters=4, shortcut=shortcut, residual=residual, hidden=hidden)
    for n in (1, 3)
    for shortcut, residual, hidden in [("A", True, ()), ("avgpool", True, (6,)), ("A", False, ())]
]
ENTRIES = 200


def named(config):
    kind = f"{config.shortcut}" if config.residual else "plain"
    return f"n{config.n}-{kind}-hidden{len(config.hidden)}"


@pytest.mark.parametrize("config", CONFIGS, ids=named)
def test_gradient_equals_central_differences_at_random_entries(config):
    rng = np.random.default_rng(0)
    network = resnet(config, ImageShape(8, 8, 3), 5).network
    layout = ParamLayout(network.params)
    params = initial_params(layout, seed=1).astype(np.float64) + 0.05 * rng.normal(size=layout.size)
    x, labels = rng.normal(size=(4, 8, 8, 3)), np.array([0, 3, 4, 1])

    def value(flat):
        logits, _ = network(Run(layout.views(flat), {}, training=True), x)
        return loss.cross_entropy(logits, labels)[0].sum()

    logits, backward = network(Run(layout.views(params), {}, training=True), x)
    gradient = np.zeros_like(params)
    backward(loss.cross_entropy(logits, labels)[1], layout.views(gradient))

    def difference(i, h):
        up, down = params.copy(), params.copy()
        up[i] += h
        down[i] -= h
        return (value(up) - value(down)) / (2 * h)

    def error(i, h):
        numeric = difference(i, h)
        return abs(numeric - gradient[i]) / max(abs(numeric), abs(gradient[i]), 1e-3 * np.abs(gradient).max())

    # A ReLU that changes sides within h spoils a difference, not the gradient: such an entry gets smaller steps.
    entries = rng.choice(layout.size, ENTRIES, replace=False)
    worst = max(next((e for h in (1e-5, 3e-6, 1e-6, 3e-7) if (e := error(i, h)) < 1e-6), 1.0) for i in entries)
    assert worst < 1e-6
    assert (gradient != 0).mean() > 0.9, "most parameters must get a gradient; in a predecessor the last block got none"
