"""The parts of the plain loop: the tree of sums, one update, the order of a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dptrain.loop
from dptrain.errors import DivergedError
from dptrain.loop import split, train, tree_sum, update
from dptrain.model import ShardResult
from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import TrainingConfig
from simulation.toy import PARAMS, Toy


def result(state, seed, samples=4):
    rng = np.random.default_rng(seed)
    gradient = rng.standard_normal(state.params.size).astype(np.float32)
    statistics = samples * rng.uniform(0, 2, state.buffers.size).astype(np.float32)
    return ShardResult(gradient, statistics, 1.0, 1, samples)


def test_the_definition_of_a_run_is_one_page():
    assert len(Path(dptrain.loop.__file__).read_text().splitlines()) <= 150


# --- sums


def test_shards_are_added_along_the_tree_in_float32():
    """(0 + 1) + (2 + 3), then + 4: 1e8 swallows a 1 that is added to it, but not the sum of several."""
    values = [1e8, 1.0, 3.0, 3.0, 2.0]
    shards = [ShardResult(np.array([v], np.float32), np.zeros(0, np.float32), v, 1, 4) for v in values]
    a, b, c, d, e = (np.float32(v) for v in values)
    total = tree_sum(shards)
    assert total.gradient[0] == ((a + b) + (c + d)) + e
    assert total.gradient[0] != (((a + b) + c) + d) + e
    assert (total.loss, total.hits, total.samples) == (sum(values), 5, 20)


def test_the_left_child_of_a_node_has_the_largest_power_of_two_below_its_length():
    for last in range(2, 200):
        left = split(0, last)
        assert left & (left - 1) == 0
        assert left < last <= 2 * left
        assert split(7, 7 + last) == 7 + left


# --- one update


def test_an_update_is_exactly_these_operations_in_float32():
    """Written once more, for SGD without momentum: sum / count, then weights - rate * gradient."""
    toy = Toy()
    state, one = toy.state(), np.float32
    rule = make_optimizer(TrainingConfig(momentum=0.0, nesterov=False, weight_decay=0.0), PARAMS)
    state.optimizer = rule.init(PARAMS.size)
    params, buffers, total = state.params.copy(), state.buffers.copy(), result(state, 1, samples=7)
    loss = update(state, rule, total, 0.3, replace(toy.course, step_weight=lambda step: 3.0))
    for i in range(params.size):
        assert state.params[i] == params[i] - one(0.3) * (total.gradient[i] / one(3.0)), i
    for i in range(buffers.size):
        assert state.buffers[i] == one(0.9) * buffers[i] + one(0.1) * (total.statistics[i] / one(7.0)), i
    assert loss == 1.0 / 3.0
    assert (state.step, state.epoch_loss, state.epoch_hits, state.epoch_samples) == (1, 7 / 3.0, 1, 7)


@pytest.mark.parametrize("share", [0.1, 0.01, 1.0])
def test_running_statistics_move_by_the_share_asked_for(share):
    toy = Toy()
    state, (optimizer, _) = toy.state(), toy.rules()
    before, total = state.buffers.astype(np.float64), result(state, 0)
    update(state, optimizer, total, 0.1, replace(toy.course, bn_momentum=share))
    np.testing.assert_allclose(state.buffers, (1 - share) * before + share * total.statistics / 4, rtol=1e-6)


def test_without_a_share_they_are_the_mean_over_the_epoch_so_far_and_start_again_with_each():
    """gcr's 1 / (1 + n)."""
    toy = Toy(steps_per_epoch=3)
    course = replace(toy.course, bn_momentum=0.0)
    state, (optimizer, _) = toy.state(), toy.rules()
    batches = [result(state, seed) for seed in range(5)]
    for step, total in enumerate(batches):
        update(state, optimizer, total, 0.1, course)
        seen = batches[step // 3 * 3 : step + 1]
        np.testing.assert_allclose(state.buffers, np.mean([b.statistics / 4 for b in seen], axis=0), rtol=1e-5)


def test_under_class_weights_gradient_and_loss_are_divided_by_them_and_statistics_by_the_samples():
    toy = Toy()
    course, total = replace(toy.course, step_weight=lambda step: 0.5 * (step + 1)), result(toy.state(), 0)
    plain, weighted = toy.state(), toy.state()
    update(plain, toy.rules()[0], replace(total, gradient=8 * total.gradient), 0.1, toy.course)
    assert update(weighted, toy.rules()[0], total, 0.1, course) == total.loss / 0.5
    assert plain.params.tobytes() == weighted.params.tobytes()
    assert plain.buffers.tobytes() == weighted.buffers.tobytes()
    assert weighted.epoch_loss / weighted.epoch_samples == total.loss / 0.5
    assert (course.step_count(3, 4), toy.course.step_count(3, 4)) == (2.0, 4)
    assert replace(course, step_weight=lambda step: 0.0).step_count(3, 4) == 1.0


def test_an_update_rule_gets_the_number_of_earlier_updates():
    """Adam's means begin at 0 and are corrected for it, less with every update."""
    toy = Toy()
    state, rule = toy.state(), make_optimizer(TrainingConfig(optimizer="adam"), PARAMS)
    state.optimizer = rule.init(PARAMS.size)
    params, means = state.params.copy(), rule.init(PARAMS.size)
    for step in range(3):
        total = result(state, step)
        update(state, rule, total, 0.1, toy.course)
        rule.update(params, total.gradient / np.float32(4), means, 0.1, step)
    assert state.params.tobytes() == params.tobytes()


def test_a_batch_of_eight_shards_is_gradient_accumulation_over_eight_sub_batches():
    """gcr's iterSize: the update is that of the mean of all samples' gradients, and memory is that of one shard."""
    toy = Toy()
    state, (optimizer, _) = toy.state(), toy.rules()
    parts = [result(state, seed) for seed in range(8)]
    parts[7] = replace(parts[7], samples=2)  # the end of an epoch
    by_hand, hands = toy.state(), toy.rules()[0]
    update(state, optimizer, tree_sum(parts), 0.1, toy.course)
    mean = np.sum([part.gradient for part in parts], axis=0) / (7 * 4 + 2)
    hands.update(by_hand.params, mean.astype(np.float32), by_hand.optimizer, 0.1, 0)
    np.testing.assert_allclose(state.params, by_hand.params, rtol=1e-6, atol=1e-7)


def test_a_value_that_is_not_finite_is_named_by_its_step_and_array():
    toy, huge = Toy(), np.full(PARAMS.size, 3e38, np.float32)
    state, (optimizer, _) = toy.state(), toy.rules()
    both = [replace(result(state, 0), gradient=huge)] * 2
    with pytest.raises(DivergedError, match=r"^step 1: the sum over all shards is not finite in conv\.weight$"):
        update(state, optimizer, tree_sum(both), 0.1, toy.course)
    assert state.sha256() == toy.state().sha256()
    state.optimizer["velocity"][:] = 3e38
    with pytest.raises(DivergedError, match=r"^step 1: conv\.weight is not finite after the update$"):
        update(state, optimizer, both[0], 0.1, toy.course)


# --- a whole run


def outline(toy, state=None, **changes):
    done = train(*toy.parts, state or toy.state(), replace(toy.course, **changes))
    return [(d.phase, d.state.step) for d in done]


def test_steps_validations_and_the_test_come_in_this_order():
    toy = Toy(steps_per_epoch=2, epochs=3)
    steps = {k: ("train", k) for k in range(1, 7)}
    assert outline(toy) == [
        *(steps[1], steps[2], ("validation", 2)),
        *(steps[3], steps[4], ("validation", 4)),
        *(steps[5], steps[6], ("validation", 6), ("test", 6)),
    ]
    scored = [("validation", 0), *steps.values(), ("validation", 6), ("test", 6)]
    assert outline(toy, first=True, every=4) == scored
    assert outline(Toy(steps_per_epoch=6, epochs=1, validation=0, test=0)) == list(steps.values())


def test_the_weights_with_the_best_validation_are_kept_and_tested():
    toy = Toy(epochs=8)
    state, kept, accuracies = toy.state(), {}, {}
    for done in train(*toy.parts, state, toy.course):
        if done.phase == "validation":
            accuracies[state.step], kept[state.step] = done.hits / done.samples, state.params.copy()
            assert done.best == (accuracies[state.step] == max(accuracies.values()) and state.best_step == state.step)
    best = min(step for step, accuracy in accuracies.items() if accuracy == max(accuracies.values()))
    assert best < state.step, "else the test would show nothing"
    assert (state.best_step, state.best_accuracy) == (best, accuracies[best])
    assert state.weights_for("test")[0].tobytes() == kept[best].tobytes()
    assert state.weights_for("validation")[0] is state.params
    assert state.tested


def test_a_run_continues_from_any_of_its_states_as_if_it_had_never_stopped():
    toy, states = Toy(), []
    for done in train(*toy.parts, toy.state(), toy.course):
        states.append(done.state.copied())
    for at in range(0, len(states), 3):
        state = states[at].copied()
        later = [done.state.sha256() for done in train(*toy.parts, state, toy.course)]
        assert later == [other.sha256() for other in states[at + 1 :]]
        assert state.best_step == states[-1].best_step
