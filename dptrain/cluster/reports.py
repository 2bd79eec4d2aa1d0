"""What the coordinator has to tell people and files: frozen records, used by `run/`. Data only.

The machine makes them, all but some notices of those who start and stop a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

DIVERGED = "the training has diverged"  #: in the words of the notice that ends such a run


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Once, before the first step (also after a resume)."""

    step: int  #: steps already applied
    total_steps: int
    steps_per_epoch: int
    term: int


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker was admitted."""

    name: str
    pid: int
    isa: str
    workers: int  #: ready workers now


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker was removed, with the reason; its open shards went back to the heap."""

    name: str
    reason: str
    shards: tuple[int, ...]  #: of the current step, to be computed by somebody else
    workers: int


@dataclass(frozen=True, slots=True)
class WorkerSilent:
    """A worker has given no sign of life about what it holds: others may take over."""

    name: str
    seconds: float
    what: str  #: "shard 3 of step 7"


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer update was applied."""

    step: int  #: 1 after the first update
    epoch: int  #: 0 in the first epoch
    loss: float  #: mean over the batch, before the update
    hits: int
    samples: int
    lr: float
    state_sha256: str  #: "" unless this step is hashed
    tensor_hashes: tuple[tuple[str, str], ...]  #: (name, first 16 hex digits of SHA-256), "" unless hashed
    worker_seconds: tuple[tuple[str, float], ...]  #: compute time a worker name in this step
    traffic: tuple[int, int] = (0, 0)  #: bytes sent and received since the last step; the transport fills it in
    coordinator_seconds: float = 0.0  #: from the last gradient's arrival to the next weights' departure; the same


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The step applied last may be wrong and is computed again: nothing counts that was told or saved behind `step`."""

    step: int  #: steps that are applied now


@dataclass(frozen=True, slots=True)
class EpochDone:
    """All samples of an epoch were used once."""

    epoch: int  #: 1 after the first
    step: int
    loss: float  #: mean over the epoch's samples
    accuracy: float
    lr: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A split was scored."""

    step: int
    epoch: int
    split: str
    loss: float
    accuracy: float
    accuracy5: float
    samples: int
    best: bool  #: the best validation accuracy of the run so far


@dataclass(frozen=True, slots=True)
class Notice:
    """Anything else worth a line. level: "info", "warning", "error"."""

    level: str
    text: str
    final: bool = False  #: the run ends with it: on the terminal it is the last line, by whoever started the run


Report: TypeAlias = (
    RunStarted | WorkerJoined | WorkerLost | WorkerSilent | StepDone | TakenBack | EpochDone | Evaluated | Notice
)
