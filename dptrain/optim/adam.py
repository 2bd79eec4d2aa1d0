"""Adam (Kingma & Ba 2015, algorithm 1) with its bias correction, as torch.optim.Adam orders the arithmetic."""

from __future__ import annotations

from math import sqrt

import numpy as np

from dptrain.config import TrainingConfig
from dptrain.model import ParamLayout
from dptrain.optim.decay import Decay
from dptrain.optim.mean import move, move_square, power
from dptrain.types import F32


class Adam:
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + epsilon).

    t = step + 1. Without the correction the first step would be (1 - b1) / sqrt(1 - b2) = 3.2 times lr.
    Every operation is one float32 rounding an element. One instance serves one thread.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._betas = training.beta1, training.beta2
        self._epsilon = np.float32(training.epsilon)
        self._decay = Decay(training, layout)
        self._scratch: F32 = np.zeros(layout.size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """Running means of the gradient and of its squares, 0."""
        return {"mean": np.zeros(size, np.float32), "square": np.zeros(size, np.float32)}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        """See the class. All arrays: (layout.size,)."""
        g, scratch = self._decay.added(params, gradient), self._scratch
        (beta1, beta2), mean, square = self._betas, state["mean"], state["square"]
        move(mean, beta1, g, scratch)
        move_square(square, beta2, g, scratch)
        np.sqrt(square, out=scratch)
        np.divide(scratch, np.float32(sqrt(1.0 - power(beta2, step + 1))), out=scratch)
        np.add(scratch, self._epsilon, out=scratch)
        np.divide(mean, scratch, out=scratch)
        np.multiply(scratch, np.float32(lr / (1.0 - power(beta1, step + 1))), out=scratch)
        np.subtract(params, scratch, out=params)
