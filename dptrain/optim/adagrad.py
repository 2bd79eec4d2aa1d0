"""Adagrad (Duchi, Hazan & Singer 2011), as torch.optim.Adagrad without its own rate decay."""

from __future__ import annotations

import numpy as np

from dptrain.config import TrainingConfig
from dptrain.model import ParamLayout
from dptrain.optim.decay import Decay
from dptrain.types import F32


class Adagrad:
    """s += g^2;  p -= lr * g / (sqrt(s) + epsilon).

    Every operation is one float32 rounding an element. One instance serves one thread.
    """

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        self._epsilon = np.float32(training.epsilon)
        self._decay = Decay(training, layout)
        self._scratch: F32 = np.zeros(layout.size, np.float32)

    def init(self, size: int) -> dict[str, F32]:
        """Sum of squares, 0."""
        return {"squares": np.zeros(size, np.float32)}

    def update(self, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:  # noqa: ARG002
        """See the class. All arrays: (layout.size,)."""
        g, scratch, squares = self._decay.added(params, gradient), self._scratch, state["squares"]
        np.multiply(g, g, out=scratch)
        np.add(squares, scratch, out=squares)
        np.sqrt(squares, out=scratch)
        np.add(scratch, self._epsilon, out=scratch)
        np.divide(g, scratch, out=scratch)
        np.multiply(scratch, np.float32(lr), out=scratch)
        np.subtract(params, scratch, out=params)
