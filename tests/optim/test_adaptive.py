"""Adam, AdamW, RMSprop, Adagrad, Adadelta: their papers' rules, written down in float64; same bits each time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dptrain.optim.exact import power
from dptrain.optim.optimizer import OPTIMIZERS, make_optimizer
from dptrain.settings import TrainingConfig
from optim.trajectory import LAYOUT, trajectory

SIZE = LAYOUT.size
ADAPTIVE = sorted(set(OPTIMIZERS) - {"sgd", "sgdw"})


def adam(t, g, s, c):
    s["m"] = c.beta1 * s["m"] + (1 - c.beta1) * g
    s["v"] = c.beta2 * s["v"] + (1 - c.beta2) * g**2
    return s["m"] / (1 - c.beta1**t) / (np.sqrt(s["v"] / (1 - c.beta2**t)) + c.epsilon)


def rmsprop(_t, g, s, c):
    s["v"] = c.rho * s["v"] + (1 - c.rho) * g**2
    return g / (np.sqrt(s["v"]) + c.epsilon)


def adagrad(_t, g, s, c):
    s["v"] = s["v"] + g**2
    return g / (np.sqrt(s["v"]) + c.epsilon)


def adadelta(_t, g, s, c):
    s["v"] = c.rho * s["v"] + (1 - c.rho) * g**2
    d = np.sqrt(s["m"] + c.epsilon) / np.sqrt(s["v"] + c.epsilon) * g
    s["m"] = c.rho * s["m"] + (1 - c.rho) * d**2
    return d


RULES = {"adam": adam, "adamw": adam, "rmsprop": rmsprop, "adagrad": adagrad, "adadelta": adadelta}


@pytest.mark.parametrize("name", ADAPTIVE)
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rho=st.sampled_from([0.3, 0.9, 0.99]),
    beta1=st.sampled_from([0.0, 0.9]),
    epsilon=st.sampled_from([1e-8, 1e-4]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    decay=st.sampled_from(["all", "weights"]),
)
def test_the_trajectory_is_that_of_the_papers_rule(name, seed, rho, beta1, epsilon, weight_decay, decay):
    rng = np.random.default_rng(seed)
    training = TrainingConfig(
        optimizer=name, rho=rho, beta1=beta1, epsilon=epsilon, weight_decay=weight_decay, decay=decay
    )
    start, gradients = rng.standard_normal(SIZE).astype(np.float32), rng.standard_normal((30, SIZE))
    gradients, rates = gradients.astype(np.float32), rng.uniform(0, 0.1, 30).tolist()
    factor = np.concatenate([np.full(s.size, weight_decay * (s.decay or decay == "all")) for s in LAYOUT.specs])
    params, s = start.astype(np.float64), {"m": np.zeros(SIZE), "v": np.zeros(SIZE)}
    for t, (found, _) in enumerate(trajectory(training, start, gradients, rates), 1):
        beside = name == "adamw"
        g = gradients[t - 1] if beside else gradients[t - 1] + factor * params
        params = params * (1 - rates[t - 1] * factor) if beside else params
        params = params - rates[t - 1] * RULES[name](t, g, s, training)
        np.testing.assert_allclose(found, params, rtol=2e-5, atol=5e-5)


def test_adams_first_step_is_the_rate_whatever_the_gradient():
    """The predecessors left the bias correction out; their first step was 3.16 times the rate."""
    training = TrainingConfig(optimizer="adam", weight_decay=0.0)
    gradient = np.array([1e-3, -5, 100] * 6 + [1], np.float32)
    params, _ = next(trajectory(training, np.zeros(SIZE, np.float32), [gradient], [0.01]))
    np.testing.assert_allclose(params, -0.01 * np.sign(gradient), rtol=1e-4)


def test_another_epsilon_gives_other_updates():
    """The predecessors' RMSprop ignored it."""
    gradient = np.full(SIZE, 1e-3, np.float32)
    for name in ADAPTIVE:
        rules = [TrainingConfig(optimizer=name, epsilon=e, weight_decay=0.0) for e in (1e-8, 1e-2)]
        steps = [next(trajectory(rule, gradient * 0, [gradient], [1.0]))[0] for rule in rules]
        assert np.abs(steps[0] - steps[1]).max() > 0.01 * np.abs(steps[0]).max(), name


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_new_instance_takes_over_in_the_middle_with_the_same_bits_and_no_gradient_is_changed(name):
    rng = np.random.default_rng(3)
    start, gradients = rng.standard_normal(SIZE).astype(np.float32), rng.standard_normal((6, SIZE)).astype(np.float32)
    training = TrainingConfig(optimizer=name)
    whole = list(trajectory(training, start, gradients, [0.1] * 6))
    params, state = whole[2][0].copy(), {k: v.copy() for k, v in whole[2][1].items()}
    assert all(array.shape == (SIZE,) and array.dtype == np.float32 for array in state.values())
    second = make_optimizer(training, LAYOUT)
    for step, gradient in enumerate(gradients[3:], 3):
        before = gradient.copy()
        second.update(params, gradient, state, 0.1, step)
        assert gradient.tobytes() == before.tobytes()
    assert params.tobytes() == whole[5][0].tobytes()
    assert {k: v.tobytes() for k, v in state.items()} == {k: v.tobytes() for k, v in whole[5][1].items()}


@pytest.mark.parametrize(("name", "lr"), [("adam", 0.1), ("rmsprop", 0.01), ("adagrad", 0.5), ("adadelta", 3.0)])
def test_it_converges_to_the_minimum_of_a_quadratic_function(name, lr):
    optimizer = make_optimizer(TrainingConfig(optimizer=name, weight_decay=0.0, epsilon=1e-6), LAYOUT)
    target = np.linspace(-1, 1, SIZE, dtype=np.float32)
    params, state = np.zeros(SIZE, np.float32), optimizer.init(SIZE)
    for step in range(500):
        optimizer.update(params, params - target, state, lr, step)
    np.testing.assert_allclose(params, target, atol=0.02)


@given(st.floats(0.0, 1.0), st.integers(0, 10_000))
def test_power_by_squaring_is_the_power(base, exponent):
    assert power(base, exponent) == pytest.approx(base**exponent, rel=1e-12, abs=1e-300)
