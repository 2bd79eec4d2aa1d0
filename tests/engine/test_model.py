"""A chain of the paper's blocks on the engine: the function of nn, as near to float64 as nn's float32; and its bits."""

from dataclasses import replace

import numpy as np
import pytest

from dptrain import engine, nn
from dptrain.kernels import isa, loss, pixels
from dptrain.nn.layer import Run
from dptrain.settings import ModelConfig
from engine.cases import MEAN, STD, named

NETWORKS = [
    (ModelConfig(n=1, filters=16), (32, 32, 3), 5),
    (ModelConfig(n=2, filters=8, shortcut="avgpool", hidden=(12,)), (28, 28, 1), 4),
    (ModelConfig(n=1, filters=8, residual=False), (16, 24, 3), 1),
    (ModelConfig(n=1, filters=24), (8, 8, 3), 3),  # a quarter of 48 channels is no whole number of lines
    (ModelConfig(n=2, filters=8), (18, 14, 1), 3),
    (ModelConfig(n=1, filters=32), (8, 8, 3), 32),
    (ModelConfig(n=1, filters=40, shortcut="avgpool"), (12, 8, 1), 2),
    (ModelConfig(n=1, filters=48), (8, 8, 3), 2),
]
SMALLER = [(replace(config, convolution="f2"), *rest) for config, *rest in NETWORKS]
QUICK = [*NETWORKS[:4], SMALLER[2]]
CASES = [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in [*NETWORKS, *SMALLER]]


@pytest.fixture(scope="module", params=CASES, ids=named)
def case(request):
    config, image, samples = request.param
    arguments = (config, image, 10, MEAN[: image[2]], STD[: image[2]])
    return engine.build(*arguments), nn.build(*arguments), image, samples


def shard(image, samples, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (samples, *image), dtype=np.uint8), rng.integers(0, 10, samples)


def parameters(model):
    rng = np.random.default_rng(9)
    return nn.initial_params(model.params, 0) + np.float32(0.05) * rng.normal(size=model.params.size).astype(np.float32)


def exact_gradient(model, params, x, y):
    """nn in float64."""
    wide = params.astype(np.float64)
    channels = x.shape[3]
    values = (x - np.float32(MEAN[:channels])) / np.float32(STD[:channels])
    run, flat = Run(model.params.views(wide), {}, training=True), np.zeros_like(wide)
    logits, backward = model.network.network(run, values.astype(np.float64))
    losses, dlogits = loss.cross_entropy(logits, y)
    backward(dlogits, model.params.views(flat))
    return flat, losses.sum(), run.statistics


def distance(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_a_network_of_the_paper_runs_as_a_chain_of_its_blocks(case):
    model, network, _, _ = case
    assert model.plan.chain is not None
    assert model.params == network.params
    assert model.buffers == network.buffers


def test_gradients_are_as_near_to_float64_as_nns(case):
    """Median over shards: where a ReLU's input is next to 0, float32 may take the other side, engine or nn."""
    model, network, image, samples = case
    params, ours, theirs = parameters(model), [], []
    for seed in range(5):
        x, y = shard(image, samples, seed)
        exact, total, _ = exact_gradient(network, params, x, y)
        result = model.gradient(params, x, y)
        assert result.loss == pytest.approx(total, rel=1e-5)
        assert result.samples == samples
        ours.append(distance(result.gradient, exact))
        theirs.append(distance(network.gradient(params, x, y).gradient, exact))
    assert np.median(ours) < 2 * np.median(theirs) + 1e-6
    assert np.median(ours) < 1e-4


def test_every_parameter_gets_its_own_gradient(case):
    model, network, image, samples = case
    params = parameters(model)
    x, y = shard(image, samples, 0)
    ours, theirs = model.gradient(params, x, y), network.gradient(params, x, y)
    whole = np.linalg.norm(theirs.gradient)
    for name, view in model.params.views(ours.gradient).items():
        other = model.params.views(theirs.gradient)[name]
        # A flipped ReLU moves a tensor by a percent, a mistake by more; a shift before a BatchNorm has a gradient of 0.
        assert np.linalg.norm(view - other) < 0.05 * np.linalg.norm(other) + 1e-5 * whole, name
    assert np.allclose(ours.statistics, theirs.statistics, rtol=1e-4, atol=1e-4)
    assert ours.hits == theirs.hits


#: By the name of the arithmetic, then by network: the beginning of the SHA-256 of a gradient and of scores.
FIRST_DAY = {
    "fp32-v2": {
        "n1-f16-A-32x32x3-shard5-f2": "1f64b6c067e8",
        "n2-f8-avgpool-28x28x1-shard4-f2": "917f2c91ddcb",
        "n2-f8-A-18x14x1-shard3-f2": "6132f102d035",
        "n1-f8-plain-16x24x3-shard1-f2": "3a0f72003bab",
        "n1-f32-A-8x8x3-shard32-f2": "8d104c47e413",
        "n1-f24-A-8x8x3-shard3-f2": "aa6a08bf6115",
        "n1-f40-avgpool-12x8x1-shard2-f2": "30134375a618",
        "n1-f48-A-8x8x3-shard2-f2": "2ec0c8292d8c",
        "n1-f16-A-32x32x3-shard5-f4": "6d9aa2e3d34c",
        "n2-f8-avgpool-28x28x1-shard4-f4": "55fc53c80abc",
        "n1-f8-plain-16x24x3-shard1-f4": "edff17c7eadb",
        "n1-f24-A-8x8x3-shard3-f4": "2610e73a0a65",
        "n2-f8-A-18x14x1-shard3-f4": "4338c40ce903",
        "n1-f32-A-8x8x3-shard32-f4": "7bb2998ba32e",
        "n1-f40-avgpool-12x8x1-shard2-f4": "6a3db15a3fca",
        "n1-f48-A-8x8x3-shard2-f4": "be580c9fd92d",
    }
}


def test_gradients_have_the_bits_that_the_name_of_the_arithmetic_stands_for(case, bits, request):
    """On every machine, at every level. A change of bits needs a new name (isa.NUMERICS): workers that compute other
    bits must be told apart, and a checkpoint must not be continued in another arithmetic.
    """
    model, _, image, samples = case
    assert bits(model, image, samples) == FIRST_DAY[isa.NUMERICS].get(request.node.callspec.id)


def test_scores_equal_nns_and_do_not_depend_on_batch_mates(case):
    model, network, image, _ = case
    params = parameters(model)
    buffers = nn.initial_buffers(model.buffers) + np.float32(0.25)
    x, _ = shard(image, 11, 3)
    scores = model.logits(params, buffers, x)
    assert np.allclose(scores, network.logits(params, buffers, x), rtol=1e-4, atol=1e-4)
    alone = np.concatenate([model.logits(params, buffers, x[i : i + 1]) for i in range(11)])
    assert scores.tobytes() == alone.tobytes()


def test_a_result_does_not_depend_on_earlier_shards(case):
    """Shards of other sizes, other weights, scoring: the next shard's bits are those of a fresh engine."""
    model, _, image, samples = case
    params = parameters(model)
    x, y = shard(image, samples, 1)
    first = model.gradient(params, x, y).digest()
    model.gradient(params * np.float32(2), *shard(image, samples + 3, 2))
    model.logits(params, nn.initial_buffers(model.buffers), shard(image, 9, 4)[0])
    if samples > 1:
        model.gradient(params, x[1:], y[1:])
    assert model.gradient(params, x, y).digest() == first
    arrived = params.copy()
    arrived.flags.writeable = False  # as from the wire
    assert model.gradient(arrived, x, y).digest() == first


def test_a_diverged_network_shows_it():
    config, image, samples = NETWORKS[2]
    model = engine.build(config, image, 10, MEAN, STD)
    params = parameters(model)
    params[:100] = np.nan
    result = model.gradient(params, *shard(image, samples, 0))
    assert np.isnan(result.loss)
    assert np.isnan(result.gradient).any()


def test_images_of_another_size_are_refused():
    config, image, _ = NETWORKS[2]
    model = engine.build(config, image, 10, MEAN, STD)
    with pytest.raises(ValueError, match="built for 16x24x3"):
        model.gradient(parameters(model), np.zeros((1, 16, 16, 3), np.uint8), np.zeros(1, np.int64))


def test_the_standardised_pixel_is_nns_bit_for_bit():
    from dptrain.kernels.compiled import aligned_empty
    from dptrain.kernels.fused.ends import pixel_values

    table = aligned_empty((3, 256))
    pixel_values(np.float32(MEAN), np.float32(STD), table)
    every = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None, None], 3, axis=3)
    assert np.array_equal(table.T, pixels.standardise(every, np.float32(MEAN), np.float32(STD))[0, :, 0])
