"""Clipping: a long gradient keeps its direction and gets the given norm, a short one keeps every bit."""

import numpy as np
import pytest

from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import TrainingConfig
from optim.trajectory import LAYOUT

SIZE = LAYOUT.size
PLAIN = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}


def change(gradient, **given):
    params, optimizer = np.zeros(SIZE, np.float32), make_optimizer(TrainingConfig(**PLAIN, **given), LAYOUT)
    kept = gradient.copy()
    optimizer.update(params, gradient, optimizer.init(SIZE), 1.0, 0)
    assert gradient.tobytes() == kept.tobytes()
    return -params


def test_the_direction_stays_and_the_norm_is_the_limit():
    gradient = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    moved = change(gradient, clip_norm=0.25)
    np.testing.assert_allclose(moved, gradient * (0.25 / np.linalg.norm(gradient)), rtol=1e-5)


@pytest.mark.parametrize("limit", [0.0, 1e3])
def test_a_gradient_within_the_limit_keeps_every_bit(limit):
    gradient = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    assert change(gradient, clip_norm=limit).tobytes() == gradient.tobytes()


def test_frozen_arrays_do_not_count_and_rates_do_not_change_the_norm():
    gradient = np.full(SIZE, 100.0, np.float32)
    moved = LAYOUT.views(change(gradient, clip_norm=1.0, freeze=("conv",), lr_scale=("bn:10",)))
    assert not moved["conv.weight"].any()
    np.testing.assert_allclose(moved["bn.weight"], 10 * 0.5, rtol=1e-5)  # four equal elements of a vector of norm 1
