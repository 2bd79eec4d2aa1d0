"""The variants of the residual block against their formulas, written out in NumPy."""

import numpy as np
import pytest

from dptrain import nn
from dptrain.kernels.reference import conv as reference
from dptrain.nn.block import BLOCKS
from dptrain.nn.gradcheck import draws
from dptrain.nn.layer import Run
from dptrain.settings import Config, ModelConfig

IMAGE, CLASSES = (8, 8, 3), 5


def relu(x):
    return np.where(x > 0, x, 0.0)


#: y of x, its shortcut s, the block's convolutions c1, c2 and its BatchNorms b1, b2
FORMULAS = {
    "paper": lambda x, s, c1, c2, b1, b2: relu(b2(c2(relu(b1(c1(x))))) + s),
    "no-relu": lambda x, s, c1, c2, b1, b2: b2(c2(relu(b1(c1(x))))) + s,
    "bn-after": lambda x, s, c1, c2, b1, b2: relu(b2(c2(relu(b1(c1(x)))) + s)),
    "bn-after-no-relu": lambda x, s, c1, c2, b1, b2: b2(c2(relu(b1(c1(x)))) + s),
    "relu-before": lambda x, s, c1, c2, b1, b2: relu(b2(c2(relu(b1(c1(x)))))) + s,
    "preactivation": lambda x, s, c1, c2, b1, b2: c2(relu(b2(c1(relu(b1(x)))))) + s,
}


def option_a(x):
    """Every second pixel, between as many channels of zeros."""
    c = x.shape[3]
    return np.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (c // 2, c // 2)))


def scores_by_hand(block, n, weights, x):
    """Stem, three stages of n blocks of which the second and the third begin with stride 2, mean, affine layer."""

    def conv(name, stride=1):
        return lambda x: reference.forward(x, weights[f"{name}.weight"], stride, 1)

    def norm(name):
        def of(x):
            centred = x - x.mean((0, 1, 2))
            unit = centred / np.sqrt((centred**2).mean((0, 1, 2)) + 1e-5)
            return weights[f"{name}.weight"] * unit + weights[f"{name}.bias"]

        return of

    before = block == "preactivation"
    x = conv("conv1")(x) if before else relu(norm("bn1")(conv("conv1")(x)))
    for stage in (1, 2, 3):
        for number in range(n):
            name, halves = f"layer{stage}.{number}", stage > 1 and number == 0
            convolutions = conv(f"{name}.conv1", 2 if halves else 1), conv(f"{name}.conv2")
            norms = norm(f"{name}.bn1"), norm(f"{name}.bn2")
            x = FORMULAS[block](x, option_a(x) if halves else x, *convolutions, *norms)
    x = relu(norm("bn")(x)) if before else x
    return x.mean((1, 2)) @ weights["linear.weight"].T + weights["linear.bias"]


def both(config, block, n):
    """Scores of four images in float64: the network's, and by hand."""
    model = nn.build(config, IMAGE, CLASSES, [120.0] * 3, [60.0] * 3)
    weights, x = model.params.views(draws((model.params.size,), 1)), draws((4, *IMAGE))
    y, _ = model.network.network(Run(weights, {}, training=True), x)
    return y, scores_by_hand(block, n, weights, x)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_is_its_formula_within_a_stage_and_across_stages(block):
    ours, by_hand = both(ModelConfig(block=block, filters=4, n=2), block, 2)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-9, atol=1e-9)


def test_a_network_nobody_set_anything_of_has_the_papers_block():
    """conv BN ReLU conv BN, add, ReLU, with option A: He et al. 2015."""
    ours, by_hand = both(Config().model, "paper", 1)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-9, atol=1e-9)
