"""The residual network: depth, parameter counts, names, refusals; every variant of the block against its formula."""

import numpy as np
import pytest

from dptrain import nn
from dptrain.errors import UsageError
from dptrain.kernels.reference import conv as reference
from dptrain.nn.convolution import Convolution, Linear
from dptrain.nn.gradcheck import draws
from dptrain.nn.layer import Run
from dptrain.nn.resnet import BLOCKS
from dptrain.settings import Config, ModelConfig


def leaves(layer):
    parts = [getattr(layer, name, None) for name in ("branch", "shortcut")]
    children = getattr(layer, "layers", None) or [part for part in parts if part]
    return [leaf for child in children for leaf in leaves(child)] if children else [layer]


def build(channels=3, size=32, **options):
    return nn.build(ModelConfig(**options), (size, size, channels), 10, [120.0] * channels, [60.0] * channels)


@pytest.mark.parametrize(("n", "depth"), [(1, 8), (3, 20), (5, 32), (7, 44), (9, 56), (18, 110)])
def test_depth_is_six_n_plus_two_weighted_layers(n, depth):
    model = build(n=n)
    weighted = [leaf for leaf in leaves(model.network.network) if isinstance(leaf, Convolution | Linear)]
    assert len(weighted) == depth == model.network.depth


def test_resnet_20_has_the_published_number_of_parameters():
    assert build(n=3, filters=16).params.size == 269_722


def test_the_plain_network_has_the_same_parameters():
    assert build(n=3, residual=False).params == build(n=3).params


def test_names_and_shapes_are_those_of_the_pytorch_implementations():
    shapes = {spec.name: spec.shape for spec in build(n=3).params.specs}
    assert shapes["conv1.weight"] == (16, 3, 3, 3)
    assert shapes["layer3.2.bn2.weight"] == (64,)
    assert shapes["layer2.0.conv1.weight"] == (32, 16, 3, 3)
    assert shapes["linear.weight"] == (10, 64)
    buffers = {spec.name for spec in build(n=3).buffers.specs}
    assert "layer1.0.bn1.running_var" in buffers
    assert len(buffers) == 2 * 19


def test_decay_of_weights_only_leaves_out_batchnorm_and_biases():
    kept = {spec.name for spec in build(n=1).params.specs if not spec.decay}
    assert kept == {s.name for s in build(n=1).params.specs if len(s.shape) == 1}


def test_scores_do_not_depend_on_batch_mates_in_evaluation():
    """A predecessor never used its running statistics."""
    model = build(n=1, size=8)
    params, buffers = nn.initial_params(model.params, 0), nn.initial_buffers(model.buffers)
    x = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), dtype=np.uint8)
    together = model.logits(params, buffers, x)
    for at in (0, 31, 32, 69):
        np.testing.assert_array_equal(model.logits(params, buffers, x[at : at + 1])[0], together[at])


def test_scores_of_evaluation_use_the_running_statistics():
    model = build(n=1, size=8)
    params, buffers = nn.initial_params(model.params, 0), nn.initial_buffers(model.buffers)
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    before = model.logits(params, buffers, x)
    buffers[0] += 0.5
    assert (model.logits(params, buffers, x) != before).any()


def test_nothing_clamps_the_scores_from_below():
    """No ReLU before the softmax (gcr's "terrible bug")."""
    model = build(n=1, size=8)
    x = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)
    assert (model.logits(nn.initial_params(model.params, 0), nn.initial_buffers(model.buffers), x) < 0).any()


def test_the_gradient_of_a_shard_is_a_sum_over_its_samples():
    """The same shard twice as long, every image twice: BatchNorm sees the same statistics, all sums double."""
    model = build(n=1, size=8, filters=8)
    params = nn.initial_params(model.params, 0)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8), rng.integers(0, 10, 5)
    one, two = model.gradient(params, x, y), model.gradient(params, np.concatenate([x, x]), np.concatenate([y, y]))
    assert two.samples == 2 * one.samples
    assert two.hits == 2 * one.hits
    assert np.isclose(two.loss, 2 * one.loss, rtol=1e-6)
    assert np.abs(two.gradient - 2 * one.gradient).max() < 1e-5 * np.abs(one.gradient).max()


def test_a_shard_gives_the_same_bits_every_time():
    model = build(n=1, size=8)
    params = nn.initial_params(model.params, 0)
    x, y = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8), np.arange(5)
    assert model.gradient(params, x, y).digest() == model.gradient(params, x, y).digest()


def test_a_shard_of_one_sample_works():
    model = build(n=1, size=8)
    result = model.gradient(nn.initial_params(model.params, 0), np.ones((1, 8, 8, 3), np.uint8), np.array([3]))
    assert np.isfinite(result.gradient).all()
    assert np.isfinite(result.statistics).all()


def test_images_of_another_shape_are_refused():
    model = build(n=1, size=8)
    with pytest.raises(ValueError, match="8"):
        model.logits(
            nn.initial_params(model.params, 0), nn.initial_buffers(model.buffers), np.zeros((1, 9, 8, 3), np.uint8)
        )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"shortcut": "D"}, "shortcut 'D'"),
        ({"n": 0}, "n=0"),
        ({"filters": 7}, "filters 7"),
        ({"shortcut": "avgpool", "size": 30}, "30x30"),
        ({"size": 3}, "3x3"),
    ],
)
def test_an_impossible_network_is_refused_with_its_value(options, named):
    with pytest.raises(UsageError, match=named):
        build(**options)


@pytest.mark.parametrize("size", [28, 32])
def test_initial_loss_is_near_the_logarithm_of_the_classes(size):
    model = build(n=1, size=size, channels=1)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (32, size, size, 1), dtype=np.uint8), rng.integers(0, 10, 32)
    assert abs(model.gradient(nn.initial_params(model.params, 0), x, y).loss / 32 - np.log(10)) < 0.7


def test_initial_weights_are_a_function_of_the_seed_and_nothing_else():
    layout = build(n=1).params
    np.testing.assert_array_equal(nn.initial_params(layout, 5), nn.initial_params(layout, 5))
    assert (nn.initial_params(layout, 5) != nn.initial_params(layout, 6)).any()


def test_initial_convolutions_have_kaimings_spread():
    layout = build(n=3).params
    weights = layout.views(nn.initial_params(layout, 0))["layer3.1.conv1.weight"]
    assert np.isclose(weights.std(), np.sqrt(2 / (64 * 9)), rtol=0.02)
    assert abs(weights.mean()) < 0.001


# --- the variants of the block, written out in NumPy

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
    """Stem, three stages of n blocks of which the second and the third begin with stride 2, mean, linear layer."""

    def conv(name, stride=1):
        return lambda x: reference.forward(x, weights[f"{name}.weight"], stride, 1, 0)

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


def test_the_default_network_has_the_block_of_the_paper():
    """conv BN ReLU conv BN, add, ReLU, with option A: He et al. 2015."""
    ours, by_hand = both(Config().model, "paper", 1)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-9, atol=1e-9)
