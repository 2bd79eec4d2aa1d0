"""RMSprop (Hinton's lecture 6e, 2012), as torch.optim.RMSprop without its options."""

from __future__ import annotations

import numpy as np

from dptrain.config import TrainingConfig
from dptrain.model import ParamLayout
from dptrain.optim.decay import Decay
from dptrain.optim.mean import move_square
from dptrain.types import F32


class RMSprop:
    """s = rho s + (1 - rho) g^2;  p -= lr * g / (sqrt(s) + epsilon).

    Every operation is one float32 rounding an element. One instance serves one thread.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._rho, self._epsilon = training.rho, np.float32(training.epsilon)
        self._decay = Decay(training, layout)
        self._scratch: F32 = np.zeros(layout.size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """Running mean of squares, 0."""
        return {"square": np.zeros(size, np.float32)}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:  # noqa: ARG002
        """See the class. All arrays: (layout.size,)."""
        g, scratch = self._decay.added(params, gradient), self._scratch
        move_square(state["square"], self._rho, g, scratch)
        np.sqrt(state["square"], out=scratch)
        np.add(scratch, self._epsilon, out=scratch)
        np.divide(g, scratch, out=scratch)
        np.multiply(scratch, np.float32(lr), out=scratch)
        np.subtract(params, scratch, out=params)
