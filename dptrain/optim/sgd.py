"""Stochastic gradient descent with momentum as PyTorch defines it (torch.optim.SGD, dampening 0)."""

from __future__ import annotations

import numpy as np

from dptrain.config import TrainingConfig
from dptrain.kernels.descent import descend
from dptrain.model import ParamLayout
from dptrain.optim.decay import Decay
from dptrain.types import F32


class SGD:
    """g += decay * p;  v = momentum * v + g;  p -= lr * (g + momentum * v if Nesterov else v).

    v is 0 before the first update, so the first v is g, as in PyTorch. Without momentum there is no v.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._momentum = np.float32(training.momentum)
        self._nesterov = training.nesterov
        self._decay = Decay(training, layout)
        self._none: F32 = np.zeros(0, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """{"velocity": zeros}, or nothing without momentum."""
        return {"velocity": np.zeros(size, np.float32)} if self._momentum else {}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:  # noqa: ARG002
        """See the class. All arrays: (layout.size,)."""
        velocity, decay = state.get("velocity", self._none), self._decay.factors
        descend(params, gradient, velocity, decay, np.float32(lr), self._momentum, nesterov=self._nesterov)
