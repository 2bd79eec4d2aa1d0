"""The weights an optimizer of ours visits, on a layout with and without decay, for the tests of every rule."""

from dptrain.model import ParamLayout, ParamSpec
from dptrain.optim.optimizer import make_optimizer

LAYOUT = ParamLayout((ParamSpec("conv.weight", (3, 5)), ParamSpec("bn.weight", (4,), decay=False)))


def trajectory(training, params, gradients, rates):
    """Yields copies of the weights and of the optimizer's state after each step."""
    optimizer = make_optimizer(training, LAYOUT)
    params, state = params.copy(), optimizer.init(LAYOUT.size)
    for step, (gradient, lr) in enumerate(zip(gradients, rates, strict=True)):
        optimizer.update(params, gradient, state, lr, step)
        yield params.copy(), {k: v.copy() for k, v in state.items()}
