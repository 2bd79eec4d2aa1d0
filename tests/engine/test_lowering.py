"""Networks lowered from their trees: every one has the bits of its layers, fused or not."""

from pathlib import Path

import numpy as np
import pytest

from dptrain import engine, nn
from dptrain.engine import lines
from dptrain.engine.lines import Op
from dptrain.engine.plan import Shape, match
from dptrain.kernels.fused.image import HALVING, IDENTITY, PLAIN
from dptrain.nn.network import leaves
from dptrain.nn.resnet import BLOCKS
from dptrain.settings import ModelConfig
from engine.cases import MEAN, STD

RANDOM = Path(__file__).with_name("random_networks.py")
SMALL = (8, 8, 3)  #: one size for all blocks: they share their kernels


def pair(config, image, **options):
    arguments = (config, image, 10, options.pop("mean", MEAN[: image[2]]), STD[: image[2]])
    return engine.build(*arguments, **options), nn.build(*arguments, **options)


def same_bits(model, network, image, samples, seed=0):
    """Gradients of two shards of different sizes, and scores; raises where any bit differs."""
    rng = np.random.default_rng(seed)
    params = nn.initial_params(model.params, 0) + np.float32(0.05) * rng.normal(size=model.params.size).astype(
        np.float32
    )
    buffers = nn.initial_buffers(model.buffers) + np.float32(0.25)
    for n in (samples, samples + 1):
        x, y = rng.integers(0, 256, (n, *image), dtype=np.uint8), rng.integers(0, 10, n)
        ours, theirs = model.gradient(params, x, y, 3, 1), network.gradient(params, x, y, 3, 1)
        for name, view in network.params.views(theirs.gradient).items():
            assert model.params.views(ours.gradient)[name].tobytes() == view.tobytes(), name
        assert ours.digest() == theirs.digest()
        assert model.logits(params, buffers, x).tobytes() == network.logits(params, buffers, x).tobytes()
    return True


#: Every block once, and every shortcut once.
KINDS = list(zip(BLOCKS, ("A-end", "avgpool", "avgpool-end", "B", "C", "A"), strict=True))


@pytest.mark.parametrize(("block", "shortcut"), KINDS)
def test_a_residual_network_of_any_block_and_shortcut_has_the_bits_of_its_layers(block, shortcut):
    model, network = pair(ModelConfig(n=2, filters=8, block=block, shortcut=shortcut), SMALL)
    assert model.plan.chain is None
    assert same_bits(model, network, SMALL, 4)
    fused = [line for line in model.plan.lines() if line.fused]
    assert {type(layer).__name__ for line in fused for layer in line.layers} >= {"Convolution", "BatchNorm"}
    assert [layer for line in model.plan.lines() if line.op == Op.LAYERS for layer in line.layers] == [
        list(leaves(network.network.network))[-1]  # the linear layer
    ]


#: What a chain of the paper's blocks does not do: other losses, other channels, small images, a mean per pixel.
OTHERS = {
    "hinge": (ModelConfig(n=1, filters=8, criterion="hinge"), SMALL),
    "l2": (ModelConfig(n=1, filters=8, l2=0.01), SMALL),
    "class weights": (ModelConfig(n=1, filters=8, class_weights=(1.0, 2.0) * 5), SMALL),
    "f2": (ModelConfig(n=1, filters=8, block="preactivation", shortcut="B", convolution="f2"), SMALL),
    "few channels": (ModelConfig(n=1, filters=4, shortcut="B"), SMALL),
    "a small image": (ModelConfig(n=1, filters=8), (7, 5, 1)),
    "lenet": (ModelConfig(network="lenet", filters=8), (12, 12, 1)),
    "lenet with other channels": (ModelConfig(network="lenet", filters=6, hidden=(10,), dropout=0.3), (13, 14, 1)),
    "vgg": (ModelConfig(network="vgg", filters=8, n=1), SMALL),
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_network_has_the_bits_of_its_layers(name):
    config, image = OTHERS[name]
    model, network = pair(config, image)
    assert same_bits(model, network, image, 3)


def test_a_mean_image_is_subtracted_pixel_by_pixel():
    mean = np.random.default_rng(0).uniform(50, 200, 8 * 8 * 3).tolist()
    model, network = pair(ModelConfig(n=1, filters=8), SMALL, mean=mean)
    assert model.plan.chain is None
    assert same_bits(model, network, SMALL, 3)


@pytest.mark.parametrize(
    "seed", [3, 4, 6, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 5, 7, 8, 9, 10))]
)
def test_a_random_network_from_a_file_has_the_bits_of_its_layers(seed):
    rng = np.random.default_rng(seed)
    image = (int(rng.integers(20, 65)), int(rng.integers(20, 65)), int(rng.choice([1, 3])))
    config = ModelConfig(network="random_networks:net", n=seed)
    model, network = pair(config, image, files=(str(RANDOM),))
    assert same_bits(model, network, image, int(rng.integers(1, 6)), seed)


def test_groups_as_small_as_they_may_be_have_the_same_bits(monkeypatch):
    """Most of these networks are so small that all images fit into one group."""
    monkeypatch.setattr(lines, "ROOM", 1)
    model, network = pair(ModelConfig(n=1, filters=8, block="preactivation", shortcut="B"), SMALL)
    assert {segment.group for segment in model.plan.backward} >= {1, 4}  # 4: four images fill a block of tiles
    assert same_bits(model, network, SMALL, 9)


def test_a_result_does_not_depend_on_earlier_shards():
    """Shards of other sizes, other weights, scoring: the next shard's bits are those of a fresh engine."""
    config = ModelConfig(n=1, filters=8, block="preactivation", shortcut="B")
    model, network = pair(config, SMALL)
    assert same_bits(model, network, SMALL, 9)
    assert same_bits(model, network, SMALL, 1)
    assert same_bits(model, network, SMALL, 20)


def test_the_plan_of_the_papers_network_is_read_from_its_tree():
    network = nn.build_network(ModelConfig(n=1, filters=8, hidden=(12,)), nn.ImageShape(28, 20, 1), 10)
    plan = match(network, 4)
    whole, half, quarter = Shape(28, 20, 8, 4), Shape(14, 10, 16, 4), Shape(7, 5, 32, 4)
    assert [(c.name, c.inputs, c.outputs, c.mode) for c in plan.convolutions] == [
        ("conv1", Shape(28, 20, 1, 4), whole, PLAIN),
        ("layer1.0.conv1", whole, whole, PLAIN),
        ("layer1.0.conv2", whole, whole, PLAIN),
        ("layer2.0.conv1", whole, half, IDENTITY),
        ("layer2.0.conv2", half, half, PLAIN),
        ("layer3.0.conv1", half, quarter, HALVING),
        ("layer3.0.conv2", quarter, quarter, PLAIN),
    ]
    assert (plan.tail_mode, plan.layers) == (HALVING, len(network.network.layers) - 4)


@pytest.mark.parametrize(
    "options",
    [{"filters": 12}, {"block": "preactivation"}, {"block": "no-relu"}, {"shortcut": "B"}, {"shortcut": "A-end"}],
    ids=str,
)
def test_other_networks_are_no_chain_of_the_papers_blocks(options):
    assert match(nn.build_network(ModelConfig(n=2, **options), nn.ImageShape(16, 16, 3), 10), 4) is None


def test_a_network_from_a_users_file_is_no_chain_because_its_runs_keep_their_bits(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from dptrain.nn import resnet\n\n\ndef net(*arguments):\n    return resnet(*arguments).network\n")
    config = ModelConfig(n=1, filters=8)
    assert match(nn.build_network(config, nn.ImageShape(16, 16, 3), 10), 4) is not None
    theirs = nn.build_network(
        ModelConfig(n=1, filters=8, network="mine:net"), nn.ImageShape(16, 16, 3), 10, (str(file),)
    )
    assert match(theirs, 4) is None
