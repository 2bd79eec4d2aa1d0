"""SGD and SGDW: PyTorch's rule, in float32, with the same bits each time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import SETTINGS, TrainingConfig
from optim.trajectory import LAYOUT, trajectory

SIZE = LAYOUT.size


def torch_rule(training, layout, params, gradients, rates):
    """torch.optim.SGD's documented algorithm, literally, in float64; yields the weights after each step. sgdw: its
    weight decay is that of torch.optim.AdamW.
    """
    params, buffer = params.astype(np.float64), None
    decay = np.concatenate(
        [np.full(s.size, training.weight_decay * (s.decay or training.decay == "all")) for s in layout.specs]
    )
    for gradient, lr in zip(gradients, rates, strict=True):
        g = gradient.astype(np.float64)
        if training.optimizer == "sgdw":
            params = params * (1 - lr * decay)
        else:
            g = g + decay * params
        if training.momentum != 0:
            buffer = g if buffer is None else training.momentum * buffer + g
            g = g + training.momentum * buffer if training.nesterov else buffer
        params = params - lr * g
        yield params


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.booleans(),
    st.sampled_from([0.0, 5e-4, 0.1]),
    st.sampled_from(["all", "weights"]),
    st.sampled_from(["sgd", "sgdw"]),
)
def test_the_trajectory_is_that_of_torchs_rule(seed, momentum, nesterov, weight_decay, decay, name):
    rng = np.random.default_rng(seed)
    training = TrainingConfig(
        optimizer=name, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, decay=decay
    )
    start = rng.standard_normal(SIZE).astype(np.float32)
    gradients = rng.standard_normal((30, SIZE)).astype(np.float32)
    rates = rng.uniform(0, 0.2, 30).tolist()
    ours = trajectory(training, start, gradients, rates)
    reference = torch_rule(training, LAYOUT, start, gradients, rates)
    for (params, _), expected in zip(ours, reference, strict=True):
        np.testing.assert_allclose(params, expected, rtol=0, atol=3e-5)


def test_the_first_velocity_is_the_gradient_itself():
    gradient = np.random.default_rng(1).standard_normal(SIZE).astype(np.float32)
    training = TrainingConfig(momentum=0.9, nesterov=False, weight_decay=0.0)
    params, state = next(trajectory(training, np.zeros(SIZE, np.float32), [gradient], [0.5]))
    assert state["velocity"].tobytes() == gradient.tobytes()
    assert params.tobytes() == (-(np.float32(0.5) * gradient)).tobytes()


def test_heavy_ball_on_a_constant_gradient_follows_the_closed_form():
    """v_k = (1 - m^k) / (1 - m), p_k = -lr * sum of v."""
    training = TrainingConfig(momentum=0.5, nesterov=False, weight_decay=0.0)
    ones = np.ones(SIZE, np.float32)
    visited = [p[0] for p, _ in trajectory(training, np.zeros(SIZE, np.float32), [ones] * 20, [1.0] * 20)]
    closed = [-sum((1 - 0.5**j) / (1 - 0.5) for j in range(1, k + 1)) for k in range(1, 21)]
    np.testing.assert_allclose(visited, closed, rtol=1e-6)


def test_decay_alone_shrinks_the_weights_geometrically_and_spares_parameters_without_decay():
    training = TrainingConfig(momentum=0.0, weight_decay=0.5, decay="weights")
    zeros = np.zeros(SIZE, np.float32)
    final = list(trajectory(training, np.ones(SIZE, np.float32), [zeros] * 4, [1.0] * 4))[-1][0]
    views = LAYOUT.views(final)
    assert set(views["conv.weight"].ravel()) == {0.5**4}
    assert set(views["bn.weight"]) == {1.0}


def test_it_converges_to_the_minimum_of_a_quadratic_function():
    optimizer = make_optimizer(TrainingConfig(weight_decay=0.0), LAYOUT)
    target = np.linspace(-1, 1, SIZE, dtype=np.float32)
    params, state = np.zeros(SIZE, np.float32), optimizer.init(SIZE)
    for step in range(200):
        optimizer.update(params, params - target, state, 0.1, step)
    np.testing.assert_allclose(params, target, atol=1e-4)


def test_two_instances_give_the_same_bits_and_a_new_one_can_take_over_in_the_middle():
    rng = np.random.default_rng(3)
    start, gradients = rng.standard_normal(SIZE).astype(np.float32), rng.standard_normal((6, SIZE)).astype(np.float32)
    training = TrainingConfig()
    whole = list(trajectory(training, start, gradients, [0.1] * 6))
    params, state = (whole[2][0].copy(), {k: v.copy() for k, v in whole[2][1].items()})
    second = make_optimizer(training, LAYOUT)
    for step, gradient in enumerate(gradients[3:], 3):
        before = gradient.copy()
        second.update(params, gradient, state, 0.1, step)
        assert gradient.tobytes() == before.tobytes()
    assert params.tobytes() == whole[5][0].tobytes()
    assert state["velocity"].tobytes() == whole[5][1]["velocity"].tobytes()


def test_the_decays_that_the_configuration_offers_are_the_ones_tested_here():
    assert set(SETTINGS["decay"].rule.words) == {"all", "weights"}
