"""Weight decay: a share of each weight, added to its gradient. The same for every update rule."""

from __future__ import annotations

import numpy as np

from dptrain.config import TrainingConfig
from dptrain.errors import UsageError
from dptrain.model import ParamLayout
from dptrain.types import F32


class Decay:
    """gradient + weight_decay * params, for all parameters or for weights only. One instance serves one thread."""

    def __init__(self, training: TrainingConfig, layout: ParamLayout) -> None:
        if training.decay not in ("all", "weights"):
            raise UsageError(f"decay {training.decay!r} is unknown; allowed are 'all' and 'weights'")
        #: (layout.size,), a factor for each parameter; (0,) without decay
        self.factors: F32 = np.full(layout.size if training.weight_decay else 0, training.weight_decay, np.float32)
        if training.decay == "weights" and training.weight_decay:
            for spec, offset in layout.items():
                if not spec.decay:
                    self.factors[offset : offset + spec.size] = 0.0
        self._sum: F32 = np.zeros(layout.size, np.float32)  #: handed out; overwritten by the next call

    def added(self, params: F32, gradient: F32) -> F32:
        """(layout.size,), which the caller may change until the next call."""
        if self.factors.size:
            np.multiply(params, self.factors, out=self._sum)
            np.add(gradient, self._sum, out=self._sum)
        else:
            np.copyto(self._sum, gradient)
        return self._sum
