"""What `fit` tells functions of the caller while it trains, and the word with which they end the training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from dptrain.cluster.events import EpochDone, Evaluated, Report, StepDone, TakenBack
from dptrain.processes.coordinator_loop import Recorder
from dptrain.processes.stopping import StopAskedError
from dptrain.state import TrainingState


class _Stop:
    """Its only instance is STOP."""

    def __repr__(self) -> str:
        return "dptrain.STOP"


STOP: Final = _Stop()  #: what a callback returns to end the training with a checkpoint


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step, after its update."""

    step: int  #: 1 after the first
    epoch: int  #: 0 in the first epoch
    loss: float  #: mean over the images of the step, before the update
    accuracy: float  #: likewise
    lr: float


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch, after its validation if there is one."""

    epoch: int  #: 1 after the first
    step: int  #: updates so far
    loss: float  #: mean over the training images of the epoch
    accuracy: float  #: likewise
    lr: float
    validation_loss: float | None  #: None: the epoch is not validated
    validation_accuracy: float | None
    best: bool  #: the highest validation accuracy so far


OnStep: TypeAlias = Callable[[StepRecord], object]
OnEpoch: TypeAlias = Callable[[EpochRecord], object]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The functions of the caller; None: there is none."""

    on_epoch: OnEpoch | None = None
    on_step: OnStep | None = None


class Listening:
    """A recorder that also calls the functions, in the thread of the coordinator. While one works, no step is made."""

    def __init__(self, recorder: Recorder, callbacks: Callbacks, validates: Callable[[int], bool]) -> None:
        """`validates`: whether the validation split is scored after so many steps."""
        self._recorder, self._callbacks, self._validates = recorder, callbacks, validates
        self._epoch: EpochDone | None = None  #: whose validation is still to come

    def tell(self, report: Report) -> None:
        """Records the report. Raises StopAskedError if a function wants the end."""
        self._recorder.tell(report)
        match report:
            case StepDone(step, epoch, loss, hits, samples, lr) if self._callbacks.on_step is not None:
                answer = self._callbacks.on_step(StepRecord(step, epoch, loss, hits / samples, lr))
                _obey(answer, f"on_step, step {step}")
            case EpochDone() if self._validates(report.step):
                self._epoch = report
            case EpochDone():
                self._close(report, None)
            case Evaluated(split="validation") if self._epoch is not None:
                self._close(self._epoch, report)
            case TakenBack():
                self._epoch = None

    def _close(self, done: EpochDone, scored: Evaluated | None) -> None:
        self._epoch = None
        if self._callbacks.on_epoch is None:
            return
        record = EpochRecord(
            done.epoch,
            done.step,
            done.loss,
            done.accuracy,
            done.lr,
            None if scored is None else scored.loss,
            None if scored is None else scored.accuracy,
            scored is not None and scored.best,
        )
        _obey(self._callbacks.on_epoch(record), f"on_epoch, epoch {done.epoch}")

    def checkpoint(self, state: TrainingState, best: bool) -> None:  # noqa: FBT001  # as in the protocol
        """Hands it on."""
        self._recorder.checkpoint(state, best)


def _obey(answer: object, who: str) -> None:
    if answer is STOP:
        raise StopAskedError(f"{who} returned STOP")
