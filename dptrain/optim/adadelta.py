"""Adadelta (Zeiler 2012), as torch.optim.Adadelta."""

from __future__ import annotations

import numpy as np

from dptrain.config import TrainingConfig
from dptrain.model import ParamLayout
from dptrain.optim.decay import Decay
from dptrain.optim.mean import move_square
from dptrain.types import F32


class Adadelta:
    """s = rho s + (1 - rho) g^2;  d = sqrt(u + epsilon) / sqrt(s + epsilon) g;  u = rho u + (1 - rho) d^2;  p -= lr d.

    The paper has lr = 1. Every operation is one float32 rounding an element. One instance serves one thread.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._rho, self._epsilon = training.rho, np.float32(training.epsilon)
        self._decay = Decay(training, layout)
        self._delta: F32 = np.zeros(layout.size, np.float32)  #: scratch
        self._scratch: F32 = np.zeros(layout.size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """Running means of the squared gradient and of the squared change, 0."""
        return {"square": np.zeros(size, np.float32), "change": np.zeros(size, np.float32)}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:  # noqa: ARG002
        """See the class. All arrays: (layout.size,)."""
        g, delta, scratch = self._decay.added(params, gradient), self._delta, self._scratch
        square, change = state["square"], state["change"]
        move_square(square, self._rho, g, scratch)
        np.add(change, self._epsilon, out=delta)
        np.sqrt(delta, out=delta)
        np.add(square, self._epsilon, out=scratch)
        np.sqrt(scratch, out=scratch)
        np.divide(delta, scratch, out=delta)
        np.multiply(delta, g, out=delta)
        move_square(change, self._rho, delta, scratch)
        np.multiply(delta, np.float32(lr), out=delta)
        np.subtract(params, delta, out=params)
