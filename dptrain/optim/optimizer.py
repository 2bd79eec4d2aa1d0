"""What an update rule is, and the choice of one for a run."""

from __future__ import annotations

from typing import Protocol

from dptrain.config import TrainingConfig
from dptrain.model import ParamLayout
from dptrain.optim.sgd import SGD
from dptrain.types import F32


class Optimizer(Protocol):
    """Changes the weights by a gradient. All state is in the arrays of `state`: the rule itself remembers nothing."""

    def init(self, size: int) -> dict[str, F32]:
        """The state before the first update, for `size` parameters."""
        ...

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float) -> None:
        """One update; changes `params` and the arrays of `state` in place, leaves `gradient` alone."""
        ...


def make_optimizer(training: TrainingConfig, layout: ParamLayout) -> Optimizer:
    """The update rule of a run."""
    return SGD(training, layout)
