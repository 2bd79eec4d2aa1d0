"""Stochastic gradient descent with momentum as PyTorch defines it (torch.optim.SGD, dampening 0)."""

from __future__ import annotations

import numpy as np

from dptrain.config import TrainingConfig
from dptrain.errors import UsageError
from dptrain.model import ParamLayout
from dptrain.types import F32


class SGD:
    """g += decay * p;  v = momentum * v + g;  p -= lr * (g + momentum * v if Nesterov else v).

    v is 0 before the first update, so the first v is g, as in PyTorch. Every operation is one float32 rounding an
    element, in the order of the formula. Without momentum there is no v. One instance serves one thread.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        if training.decay not in ("all", "weights"):
            raise UsageError(f"decay {training.decay!r} is unknown; allowed are 'all' and 'weights'")
        self._momentum = np.float32(training.momentum)
        self._nesterov = training.nesterov
        self._decay: F32 | np.float32 = np.float32(training.weight_decay)
        if training.decay == "weights":
            self._decay = np.zeros(layout.size, np.float32)
            for spec, offset in layout.items():
                self._decay[offset : offset + spec.size] = training.weight_decay if spec.decay else 0.0
        self._decays = bool(training.weight_decay)
        self._step: F32 = np.zeros(layout.size, np.float32)  #: scratch
        self._scaled: F32 = np.zeros(layout.size, np.float32)  #: scratch

    def init(self, size: int) -> dict[str, F32]:
        """{"velocity": zeros}, or nothing without momentum."""
        return {"velocity": np.zeros(size, np.float32)} if self._momentum else {}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float) -> None:
        """See the class. All arrays: (layout.size,)."""
        step, scaled = self._step, self._scaled
        if self._decays:
            np.multiply(params, self._decay, out=step)
            np.add(gradient, step, out=step)
        else:
            np.copyto(step, gradient)
        if self._momentum:
            velocity = state["velocity"]
            np.multiply(velocity, self._momentum, out=velocity)
            np.add(velocity, step, out=velocity)
            if self._nesterov:
                np.multiply(velocity, self._momentum, out=scaled)
                np.add(step, scaled, out=step)
            else:
                np.copyto(step, velocity)
        np.multiply(step, np.float32(lr), out=scaled)
        np.subtract(params, scaled, out=params)
