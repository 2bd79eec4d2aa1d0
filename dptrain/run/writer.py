"""Writes checkpoints on a thread of its own while training goes on, and tries again where the disk says no.

One checkpoint is being written, at most two wait (the newest, and the newest that is a best one): memory stays bounded
however slow the disk is. A checkpoint that could not be written waits for the next one, or for its turn to be tried
again. Nothing is told from the thread: `take` gives what has happened to whoever asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from dptrain.cluster.state import TrainingState
from dptrain.errors import DptrainError

FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0  #: seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt to write a checkpoint."""

    step: int
    error: str = ""  #: why it is not written; "" where it is
    attempt: int = 1
    fatal: DptrainError | None = None  #: it never will be: somebody else has the run directory


@dataclass(slots=True)
class _Task:
    state: TrainingState  #: a copy that nobody else has
    best: bool
    attempt: int = 1


class CheckpointWriter:
    """Calls `write(state, best)`, which raises OSError where the disk is full, on its thread."""

    def __init__(self, write: Callable[[TrainingState, bool], None], retry: float = FIRST_RETRY) -> None:
        self._write, self._retry = write, retry
        self._condition = threading.Condition()
        self._waiting: list[_Task] = []  #: oldest first
        self._closing = False
        self._outcomes: list[Outcome] = []
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def put(self, state: TrainingState, *, best: bool) -> None:
        """Never blocks. `state` must not change any more; it takes the place of what still waits and is older."""
        with self._condition:
            self._waiting = [task for task in self._waiting if task.best and not best]
            self._waiting.append(_Task(state, best))
            self._condition.notify_all()

    def take(self) -> list[Outcome]:
        """What has happened since the last call."""
        with self._condition:
            outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def close(self) -> list[Outcome]:
        """Waits until everything is written or has failed once more; then `take`."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()
        return self.take()

    def _run(self) -> None:
        while True:
            task = self._next()
            if task is None:
                return
            outcome = self._attempt(task)
            with self._condition:
                self._outcomes.append(outcome)
                if outcome.error and outcome.fatal is None and not self._closing:
                    self._again(task)
                self._condition.notify_all()

    def _next(self) -> _Task | None:
        """The oldest that waits, once its time has come; None: the end."""
        with self._condition:
            while True:
                if self._waiting:
                    pause = self._pause(self._waiting[0])
                    if pause <= 0.0 or self._closing or not self._condition.wait(pause):
                        return self._waiting.pop(0)
                elif self._closing:
                    return None
                else:
                    self._condition.wait()

    def _pause(self, task: _Task) -> float:
        return 0.0 if task.attempt == 1 else min(LONGEST_RETRY, self._retry * 2.0 ** (task.attempt - 2))

    def _again(self, task: _Task) -> None:
        """Back to the front, unless a newer one is there that replaces it."""
        if not any(other.best or not task.best for other in self._waiting):
            self._waiting.insert(0, _Task(task.state, task.best, task.attempt + 1))

    def _attempt(self, task: _Task) -> Outcome:
        step = task.state.step
        try:
            self._write(task.state, task.best)
        except OSError as error:
            return Outcome(step, error.strerror or str(error), task.attempt)
        except DptrainError as error:
            return Outcome(step, str(error), task.attempt, error)
        return Outcome(step, attempt=task.attempt)
