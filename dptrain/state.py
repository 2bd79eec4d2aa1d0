"""The numbers of a run between two steps: all that a checkpoint holds and a hash covers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from dptrain.model import ParamLayout
from dptrain.types import F32


def layout_digest(params: ParamLayout, buffers: ParamLayout) -> str:
    """What Welcome and Prepared carry: 128 hex digits, the params' digest, then the buffers'."""
    return params.digest() + buffers.digest()


def array_digest(array: F32) -> str:
    """First 16 hex digits of SHA-256 over the array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()[:16]


@dataclass
class TrainingState:
    """Mutable; changed only by the coordinator, between steps."""

    params_layout: ParamLayout
    buffers_layout: ParamLayout
    params: F32  #: (params_layout.size,)
    buffers: F32  #: (buffers_layout.size,) running statistics
    optimizer: dict[str, F32]  #: e.g. {"velocity": (params_layout.size,)}
    step: int = 0  #: updates applied
    epoch_loss: float = 0.0  #: sums over the samples of the open epoch
    epoch_hits: int = 0
    epoch_samples: int = 0
    best_accuracy: float = -1.0  #: on the validation split; -1: none yet
    best_step: int = 0
    best_params: F32 = field(default_factory=lambda: np.zeros(0, np.float32))  #: copies of the weights at best_step;
    best_buffers: F32 = field(default_factory=lambda: np.zeros(0, np.float32))  #: empty while best_accuracy is -1
    evaluated_step: int = -1  #: the step after which the validation split was last scored; -1: never
    tested: bool = False  #: the test split has been scored: the run is complete
    history: dict[str, float] = field(default_factory=dict)  #: last metrics, for the checkpoint's metadata only

    def weights_for(self, split: str) -> tuple[F32, F32]:
        """Params and running statistics a split is scored with: for "test" the best ones, if any were validated."""
        if split == "test" and self.best_accuracy >= 0:
            return self.best_params, self.best_buffers
        return self.params, self.buffers

    def not_finite(self) -> str:
        """Name of the first parameter or running statistic that holds NaN or infinity; "" where all is finite."""
        return self.params_layout.first_not_finite(self.params) or self.buffers_layout.first_not_finite(self.buffers)

    def tensors(self) -> dict[str, F32]:
        """Every array by name: params "model.NAME", buffers "model.NAME", optimizer "optim.KIND.NAME". Views."""
        out = {f"model.{k}": v for k, v in self.params_layout.views(self.params).items()}
        out |= {f"model.{k}": v for k, v in self.buffers_layout.views(self.buffers).items()}
        for kind, flat in sorted(self.optimizer.items()):
            out |= {f"optim.{kind}.{k}": v for k, v in self.params_layout.views(flat).items()}
        return out

    def best_tensors(self) -> dict[str, F32]:
        """The best weights by name, "best.NAME"; empty while there are none. Views. A checkpoint must hold them too:
        the test split is scored with them at the end, also by a resumed run.
        """
        if self.best_accuracy < 0:
            return {}
        out = {f"best.{k}": v for k, v in self.params_layout.views(self.best_params).items()}
        out |= {f"best.{k}": v for k, v in self.buffers_layout.views(self.best_buffers).items()}
        return out

    def copied(self) -> TrainingState:
        """As it is now, in arrays of its own: training goes on in these. All that an update changes is copied; the best
        weights are never written into (better ones bring new arrays).
        """
        return replace(
            self,
            params=self.params.copy(),
            buffers=self.buffers.copy(),
            optimizer={kind: flat.copy() for kind, flat in self.optimizer.items()},
            history=dict(self.history),
        )

    def sha256(self) -> str:
        """Hex digest over weights, running statistics, optimizer state and the step."""
        h = hashlib.sha256(str(self.step).encode())
        for array in (self.params, self.buffers, *(self.optimizer[k] for k in sorted(self.optimizer))):
            h.update(np.ascontiguousarray(array).data)
        return h.hexdigest()

    def tensor_hashes(self) -> tuple[tuple[str, str], ...]:
        """(name, first 16 hex digits of SHA-256) of every tensor, to name the one that differs."""
        return tuple((k, array_digest(v)) for k, v in self.tensors().items())
