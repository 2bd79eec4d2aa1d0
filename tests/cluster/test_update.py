"""One update: sums are divided once, running statistics move as asked, a large batch is many small ones."""

from dataclasses import replace

import numpy as np
import pytest

from dptrain.cluster.tree import Tree
from dptrain.cluster.update import apply
from dptrain.model import ShardResult
from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import TrainingConfig
from simulation.toy import PARAMS, Toy


def result(state, seed, samples=4):
    rng = np.random.default_rng(seed)
    gradient = rng.standard_normal(state.params.size).astype(np.float32)
    statistics = samples * rng.uniform(0, 2, state.buffers.size).astype(np.float32)
    return ShardResult(gradient, statistics, 1.0, 1, samples)


@pytest.mark.parametrize("take", [0.1, 0.01, 1.0])
def test_running_statistics_move_by_the_share_asked_for(take):
    toy = Toy()
    state, (optimizer, _) = toy.state(), toy.rules()
    before, total = state.buffers.astype(np.float64), result(state, 0)
    apply(state, optimizer, total, 0.1, take, total.samples)
    np.testing.assert_allclose(state.buffers, (1 - take) * before + take * total.statistics / 4, rtol=1e-6)


def test_without_a_share_they_are_the_mean_over_the_epoch_so_far_and_begin_anew_with_each():
    """gcr's 1 / (1 + n)."""
    toy = Toy(steps_per_epoch=3)
    job = replace(toy.job(), bn_momentum=0.0)
    state, (optimizer, _) = toy.state(), toy.rules()
    batches = [result(state, seed) for seed in range(5)]
    for step, total in enumerate(batches):
        apply(state, optimizer, total, 0.1, job.take(step), total.samples)
        seen = batches[step // 3 * 3 : step + 1]
        np.testing.assert_allclose(state.buffers, np.mean([b.statistics / 4 for b in seen], axis=0), rtol=1e-5)


def test_under_class_weights_gradient_and_loss_are_divided_by_them_and_statistics_by_the_samples():
    toy = Toy()
    job, total = replace(toy.job(), counted=lambda step: 0.5 * (step + 1)), result(toy.state(), 0)
    plain, weighted = toy.state(), toy.state()
    apply(plain, toy.rules()[0], replace(total, gradient=8 * total.gradient), 0.1, 0.1, total.samples)
    apply(weighted, toy.rules()[0], total, 0.1, 0.1, job.divisor(0, 4))
    assert plain.params.tobytes() == weighted.params.tobytes()
    assert plain.buffers.tobytes() == weighted.buffers.tobytes()
    assert weighted.epoch_loss / weighted.epoch_samples == total.loss / 0.5
    assert (job.divisor(3, 4), toy.job().divisor(3, 4)) == (2.0, 4)
    assert replace(job, counted=lambda step: 0.0).divisor(3, 4) == 1.0


def test_a_rule_is_told_how_many_updates_went_before():
    """Adam's means begin at 0 and are corrected for it, less with every update."""
    state, rule = Toy().state(), make_optimizer(TrainingConfig(optimizer="adam"), PARAMS)
    state.optimizer = rule.init(PARAMS.size)
    params, means = state.params.copy(), rule.init(PARAMS.size)
    for step in range(3):
        total = result(state, step)
        apply(state, rule, total, 0.1, 0.1, total.samples)
        rule.update(params, total.gradient / np.float32(4), means, 0.1, step)
    assert state.params.tobytes() == params.tobytes()


def test_a_batch_of_eight_shards_is_gradient_accumulation_over_eight_sub_batches():
    """gcr's iterSize: the update is that of the mean of all samples' gradients, and memory is that of one shard."""
    toy = Toy()
    state, (optimizer, _) = toy.state(), toy.rules()
    parts = [result(state, seed) for seed in range(8)]
    parts[7] = replace(parts[7], samples=2)  # the end of an epoch
    tree = Tree(8)
    for shard, part in enumerate(parts):
        tree.add(shard, shard + 1, part)
    by_hand, hands = toy.state(), toy.rules()[0]
    apply(state, optimizer, tree.root, 0.1, 0.1, tree.root.samples)
    mean = np.sum([part.gradient for part in parts], axis=0) / (7 * 4 + 2)
    hands.update(by_hand.params, mean.astype(np.float32), by_hand.optimizer, 0.1, 0)
    np.testing.assert_allclose(state.params, by_hand.params, rtol=1e-6, atol=1e-7)
