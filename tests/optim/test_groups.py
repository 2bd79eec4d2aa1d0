"""Arrays with learning rates of their own: frozen ones do not move, others move as if they were alone."""

import numpy as np
import pytest

from dptrain.errors import UsageError
from dptrain.model import ParamLayout, ParamSpec
from dptrain.optim.optimizer import OPTIMIZERS, make_optimizer
from dptrain.settings import TrainingConfig

LAYOUT = ParamLayout(
    (
        ParamSpec("conv1.weight", (3, 2)),
        ParamSpec("bn1.weight", (3,), decay=False),
        ParamSpec("layer1.0.conv1.weight", (4,)),
        ParamSpec("layer10.weight", (2,)),
        ParamSpec("linear.weight", (2, 4)),
        ParamSpec("linear.bias", (2,), decay=False),
    )
)


def moved(optimizer, layout, params, gradients):
    """Params and state after these gradients."""
    params, state = params.copy(), optimizer.init(layout.size)
    for step, gradient in enumerate(gradients):
        optimizer.update(params, gradient, state, 0.1 / (step + 1), step)
    return params, state


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay", ["all", "weights"])
def test_each_array_moves_as_if_it_were_alone_with_its_own_rate_and_frozen_ones_stay(name, decay):
    rng = np.random.default_rng(0)
    params = rng.standard_normal(LAYOUT.size).astype(np.float32)
    gradients = rng.standard_normal((5, LAYOUT.size)).astype(np.float32)
    given = {"optimizer": name, "decay": decay, "weight_decay": 0.1}
    training = TrainingConfig(**given, freeze=("conv1", "layer1"), lr_scale=("linear:10", "linear.bias:0.5"))
    found, state = moved(make_optimizer(training, LAYOUT), LAYOUT, params, gradients)
    factors = {"bn1.weight": 1.0, "layer10.weight": 1.0, "linear.weight": 10.0, "linear.bias": 0.5}
    for spec, at in LAYOUT.items():
        own, alone = slice(at, at + spec.size), ParamLayout((spec,))
        if spec.name not in factors:
            assert found[own].tobytes() == params[own].tobytes()
            assert not any(kind[own].any() for kind in state.values())
            continue
        rule, want, kept = OPTIMIZERS[name](TrainingConfig(**given), alone), params[own].copy(), None
        kept = rule.init(spec.size)
        for step, gradient in enumerate(gradients):
            rule.update(want, gradient[own], kept, 0.1 / (step + 1) * factors[spec.name], step)
        assert found[own].tobytes() == want.tobytes(), spec.name
        assert all(state[kind][own].tobytes() == kept[kind].tobytes() for kind in kept)


def test_without_frozen_arrays_and_factors_it_is_the_rule_itself():
    assert type(make_optimizer(TrainingConfig(), LAYOUT)) is OPTIMIZERS["sgd"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"freeze": ("layer2",)}, "freeze: the network has no array 'layer2'; its layers: conv1, bn1, layer1, layer10"),
        ({"freeze": ("layer",)}, "has no array 'layer'"),
        ({"lr_scale": ("head:2",)}, "lr_scale: the network has no array 'head'; its layers"),
        ({"lr_scale": ("linear:2", "linear:3")}, "each name may be given once"),
        ({"freeze": ("linear",), "lr_scale": ("linear.bias:2",)}, "no array 'linear.bias' that is not frozen"),
        ({"freeze": ("conv1", "bn1", "layer1", "layer10", "linear")}, "no array is left to train"),
    ],
)
def test_names_that_mean_nothing_are_refused(given, words):
    with pytest.raises(UsageError, match=words):
        make_optimizer(TrainingConfig(**given), LAYOUT)
