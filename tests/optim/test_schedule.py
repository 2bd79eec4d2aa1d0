"""Schedules: the recipe's rates, and rates whose bits no libm decides."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.optim.exact import cos_pi
from dptrain.optim.schedule import make_schedule
from dptrain.settings import SETTINGS, TrainingConfig


@given(st.floats(0, 1))
def test_our_cosine_is_within_two_roundings_of_the_true_one(x):
    assert abs(cos_pi(x) - math.cos(math.pi * x)) < 5e-16
    assert -1.0 <= cos_pi(x) <= 1.0


def test_our_cosine_has_known_bits():
    assert [cos_pi(x) for x in (0.0, 0.5, 1.0)] == [1.0, 0.0, -1.0]
    assert [cos_pi(x).hex() for x in (0.1, 0.3, 0.7)] == [
        "0x1.e6f0e134454ffp-1",
        "0x1.2cf2304755a5ep-1",
        "-0x1.2cf2304755a5dp-1",
    ]


@pytest.mark.parametrize("x", [-1e-9, 1.0000001, float("nan")])
def test_our_cosine_refuses_arguments_outside_its_range(x):
    with pytest.raises(ValueError, match="must lie in"):
        cos_pi(x)


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_the_cosine_recipe_is_that_of_the_reference_script(epochs):
    """shared/peers/torch_train.py, with math.cos in the place of numpy's."""
    steps = 391
    total = steps * epochs
    lr = make_schedule(TrainingConfig(lr=0.1, warmup=1.0, schedule="cosine"), steps, total)
    for k in range(total):
        peer = (
            0.1 * min(1, (k + 1) / steps) * (0.5 * (1 + math.cos(math.pi * max(0, k - steps) / max(1, total - steps))))
        )
        assert lr(k) == pytest.approx(peer, rel=1e-12, abs=1e-17), k


def test_cosine_without_warmup_starts_at_the_full_rate_and_ends_near_zero():
    lr = make_schedule(TrainingConfig(lr=0.2, warmup=0.0), 10, 100)
    assert lr(0) == 0.2
    assert lr(50) == pytest.approx(0.1)
    assert 0 < lr(99) < 1e-4
    assert lr(100) == lr(1000) == 0.0


def test_steps_multiply_at_each_milestone_epoch_after_a_linear_warmup():
    training = TrainingConfig(lr=0.1, warmup=0.5, schedule="steps", milestones=(2, 3), factor=0.1)
    lr = make_schedule(training, 4, 16)
    assert [lr(k) for k in range(4)] == [0.05, 0.1, 0.1, 0.1]
    assert [lr(k) for k in (7, 8, 11, 12, 15)] == pytest.approx([0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_constant_schedule_keeps_the_rate():
    lr = make_schedule(TrainingConfig(lr=0.3, warmup=0.0, schedule="constant"), 4, 16)
    assert {lr(k) for k in range(16)} == {0.3}


@pytest.mark.parametrize("name", SETTINGS["schedule"].rule.words)
def test_every_schedule_that_the_configuration_offers_can_be_made(name):
    training = TrainingConfig(lr=0.5, warmup=0.0, schedule=name, milestones=(1,), rates=(1.0,), initial=1.0)
    assert make_schedule(training, 4, 16)(0) == 0.5


def test_a_table_gives_each_epoch_its_own_factor_and_the_last_one_stays():
    training = TrainingConfig(lr=0.5, warmup=0.0, schedule="table", rates=(1.0, 0.2, 0.4))
    lr = make_schedule(training, 2, 10)
    assert [lr(k) for k in range(8)] == [0.5, 0.5, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2]


def test_the_110_layer_recipe_of_gcr_starts_with_400_steps_at_a_hundredth():
    training = TrainingConfig(
        lr=0.1, epochs=200, warmup=400 / 390, warmup_factor=0.01, schedule="steps", milestones=(80, 120)
    )
    lr = make_schedule(training, 390, 200 * 390)
    assert [lr(k) for k in (0, 399, 400, 80 * 390 - 1, 80 * 390)] == pytest.approx([0.001, 0.001, 0.1, 0.1, 0.01])


def test_triangular_is_that_of_airbench():
    """KellerJordan/cifar10-airbench: numpy.interp over steps, 23 % up from 0.2, then down to 0.07."""
    total = 487
    training = TrainingConfig(lr=9.0, schedule="triangular", rise=0.23, initial=0.2, final=0.07)
    lr = make_schedule(training, 49, total)
    wanted = 9.0 * np.interp(range(total + 1), [0, int(0.23 * total), total], [0.2, 1, 0.07])
    np.testing.assert_allclose([lr(k) for k in range(total + 1)], wanted, rtol=1e-12)


@pytest.mark.parametrize(("rise", "first", "last"), [(0.0, 0.5, 0.1), (1.0, 0.02, 0.5)])
def test_triangular_may_only_fall_or_only_rise(rise, first, last):
    lr = make_schedule(TrainingConfig(lr=0.5, schedule="triangular", rise=rise, final=0.2), 10, 100)
    assert (lr(0), lr(100)) == pytest.approx((first, last))


@pytest.mark.parametrize(("schedule", "exponent"), [("linear", 1), ("polynomial", 3)])
def test_linear_and_polynomial_fall_from_the_end_of_the_warmup_to_the_final_rate(schedule, exponent):
    training = TrainingConfig(lr=0.5, warmup=1.0, schedule=schedule, exponent=exponent, final=0.2)
    lr = make_schedule(training, 10, 60)
    falling = [0.5 * (0.2 + 0.8 * (1 - k / 50) ** exponent) for k in range(51)]
    assert [lr(k) for k in range(61)] == pytest.approx([0.05 * (k + 1) for k in range(10)] + falling, rel=1e-12)


def test_a_restart_brings_the_full_rate_back_and_each_cosine_is_longer():
    lr = make_schedule(TrainingConfig(lr=0.5, warmup=0.0, schedule="restarts", period=2, stretch=2, final=0.2), 5, 70)
    wanted = [0.1 + 0.4 * (1 + math.cos(math.pi * k / n)) / 2 for n in (10, 20, 40) for k in range(n)]
    assert [lr(k) for k in range(70)] == pytest.approx(wanted, rel=1e-12)
    assert [lr(k) for k in (0, 10, 30, 70)] == [0.5] * 4


def test_a_cosine_ends_at_the_final_rate_and_zero_keeps_every_bit():
    plain, ended = (make_schedule(TrainingConfig(warmup=0.0, final=final), 5, 50) for final in (0.0, 0.1))
    assert ended(50) == pytest.approx(0.01)
    assert [plain(k) for k in range(51)] == [0.1 * (0.5 * (1.0 + cos_pi(k / 50))) for k in range(51)]
