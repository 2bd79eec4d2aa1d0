"""Stochastic gradient descent with momentum as PyTorch defines it (torch.optim.SGD, dampening 0)."""

from __future__ import annotations

import numpy as np

from dptrain.config import TrainingConfig
from dptrain.model import ParamLayout
from dptrain.optim.decay import Decay
from dptrain.types import F32


class SGD:
    """g += decay * p;  v = momentum * v + g;  p -= lr * (g + momentum * v if Nesterov else v).

    v is 0 before the first update, so the first v is g, as in PyTorch. Every operation is one float32 rounding an
    element, in the order of the formula. Without momentum there is no v. One instance serves one thread.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._momentum = np.float32(training.momentum)
        self._nesterov = training.nesterov
        self._decay = Decay(training, layout)
        self._scaled: F32 = np.zeros(layout.size, np.float32)  #: scratch

    def init(self, size: int) -> dict[str, F32]:
        """{"velocity": zeros}, or nothing without momentum."""
        return {"velocity": np.zeros(size, np.float32)} if self._momentum else {}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:  # noqa: ARG002
        """See the class. All arrays: (layout.size,)."""
        change, scaled = self._decay.added(params, gradient), self._scaled
        if self._momentum:
            velocity = state["velocity"]
            np.multiply(velocity, self._momentum, out=velocity)
            np.add(velocity, change, out=velocity)
            if self._nesterov:
                np.multiply(velocity, self._momentum, out=scaled)
                np.add(change, scaled, out=change)
            else:
                np.copyto(change, velocity)
        np.multiply(change, np.float32(lr), out=scaled)
        np.subtract(params, scaled, out=params)
