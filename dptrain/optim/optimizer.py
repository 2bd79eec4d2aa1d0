"""What an update rule is, and the choice of one for a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dptrain.config import TrainingConfig
from dptrain.errors import UsageError
from dptrain.model import ParamLayout
from dptrain.optim.adadelta import Adadelta
from dptrain.optim.adagrad import Adagrad
from dptrain.optim.adam import Adam
from dptrain.optim.rmsprop import RMSprop
from dptrain.optim.sgd import SGD
from dptrain.types import F32


class Optimizer(Protocol):
    """Changes the weights by a gradient. All state is in the arrays of `state`: the rule itself remembers nothing."""

    def init(self, size: int) -> dict[str, F32]:
        """The state before the first update, for `size` parameters; every array is as long as they are."""
        ...

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        """One update, after `step` others; changes `params` and `state` in place, leaves `gradient` alone."""
        ...


OPTIMIZERS: dict[str, Callable[[TrainingConfig, ParamLayout], Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
}


def make_optimizer(training: TrainingConfig, layout: ParamLayout) -> Optimizer:
    """The update rule of a run. Raises UsageError for one there is not."""
    if training.optimizer not in OPTIMIZERS:
        raise UsageError(f"optimizer {training.optimizer!r} is unknown; there are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[training.optimizer](training, layout)
