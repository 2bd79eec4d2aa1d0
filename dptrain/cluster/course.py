"""The course of a run: round after round, what each one does to the state, and what is told and saved of it.

Who computes what is not known here: `Work` leads the workers through the rounds and calls `completed` when one is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dptrain.cluster.doubt import Opinion
from dptrain.cluster.events import (
    DIVERGED,
    CoordinatorAction,
    Ended,
    EpochDone,
    Evaluated,
    Notice,
    RunStarted,
    SaveCheckpoint,
    StepDone,
    TakenBack,
    Tell,
)
from dptrain.cluster.job import Job
from dptrain.cluster.members import Lease, Pace
from dptrain.cluster.round import Applied, Round, ScoreRound, StepRound
from dptrain.cluster.tree import Node
from dptrain.errors import DivergedError
from dptrain.loop import close_epoch, close_score, update
from dptrain.model import ShardResult
from dptrain.optim.optimizer import Optimizer
from dptrain.optim.schedule import Schedule
from dptrain.state import TrainingState


class Course:
    """Owns the state between two steps; changes it in `completed`, and takes the last change back in `take_back`."""

    def __init__(self, job: Job, state: TrainingState, optimizer: Optimizer, schedule: Schedule) -> None:
        self.job = job
        self.state = state
        self.round: Round | None = None  #: what the workers are doing; None before the start and at the end
        self.ending: Ended | None = None
        self.past: Applied | None = None  #: the step applied last, until the next round is complete
        self._again = ""  #: sha256 of the state whose last step was taken back and is computed again; "": none is
        self._optimizer = optimizer
        self._schedule = schedule
        self._step_lease, self._score_lease = Lease(), Lease()
        self._step_pace, self._score_pace = Pace(), Pace()

    def start(self) -> list[CoordinatorAction]:
        """Reports the start and opens the first round, or ends at once where nothing is left to do."""
        job = self.job
        started = RunStarted(self.state.step, job.course.steps, job.course.sampler.steps_per_epoch, job.term)
        self._open_next()
        return [Tell(started)]

    def completed(self) -> list[CoordinatorAction]:
        """Every shard of the round is in: changes the state, reports, saves, opens the next round."""
        if isinstance(self.round, StepRound):
            return self._step_done(self.round)
        assert self.round is not None
        return self._scored(self.round)

    def abort(self, ending: Ended, advice: str) -> list[CoordinatorAction]:
        """As `stop`, and it is an error, told with what to do about it."""
        return [Tell(Notice("error", f"{ending.reason}: {advice}", final=True)), *self.stop(ending)]

    def stop(self, ending: Ended) -> list[CoordinatorAction]:
        """Ends the run between two steps; a checkpoint holds what is applied."""
        self.round, self.ending = None, ending
        return [SaveCheckpoint(best=False)]

    def diverged(self, text: str) -> list[CoordinatorAction]:
        """Ends the run without a checkpoint: what was last saved is finite."""
        self.round, self.ending = None, Ended(DivergedError.exit_code, text)
        advice = f"{DIVERGED}; a lower lr or a longer warm-up may help. The last checkpoint is finite"
        return [Tell(Notice("error", f"{text}: {advice}", final=True))]

    def _open_next(self) -> None:
        phase, state = self.job.course.next_phase(self.state), self.state
        if phase == "train" and 0 < self.job.stop_after <= state.step:
            self.round, self.ending = None, Ended(0, f"stopped after step {state.step}")
        elif phase == "train":
            self.round = self._step_round()
        elif phase:
            self.round = self._score_round(phase)
        else:
            self.round, self.ending = None, Ended(0, "the run is complete")

    def _step_round(self) -> StepRound:
        return StepRound(self.job, self.state, self._step_lease, self._step_pace)

    def _score_round(self, split: str) -> ScoreRound:
        return ScoreRound(self.job, self.state, split, (self._score_lease, self._score_pace))

    def begin_anew(self, node: Node, found: Sequence[Opinion[Any]]) -> None:
        """Two workers found different things in a node, one of which was taken: nothing of the round counts."""
        old = self.round
        if isinstance(old, StepRound):
            step = self.round = self._step_round()
            step.begin_anew(old, node, found)
        elif isinstance(old, ScoreRound):
            score = self.round = self._score_round(old.split)
            score.begin_anew(old, node, found)

    def take_back(self, node: Node, found: Sequence[Opinion[Any]]) -> list[CoordinatorAction]:
        """Two workers found different things in a node of the step that was applied last: the state before it again.

        It is saved too: a checkpoint of wrong bits would outlive this process.
        """
        assert self.past is not None
        self._again, self.state, self.past = self.state.sha256(), self.past.before, None
        step = self.round = self._step_round()
        step.doubt(node, found)
        return [Tell(TakenBack(self.state.step)), SaveCheckpoint(best=False)]

    def forget(self, incarnation: str) -> None:
        """The worker is gone: how fast it was does not matter any more."""
        self._step_pace.forget(incarnation)
        self._score_pace.forget(incarnation)

    def _step_done(self, done: StepRound) -> list[CoordinatorAction]:
        state, total, lr = self.state, done.tree.root, self._schedule(done.step)
        past, self.past = Applied.of(done, state), None
        try:
            loss = update(state, self._optimizer, total, lr, self.job.course)
        except DivergedError as error:
            return self.diverged(str(error))
        self.past = past
        actions: list[CoordinatorAction] = [Tell(self._step_report(total, loss, lr, done.seconds))]
        if self.job.course.ends_epoch(state.step):
            epoch = EpochDone(self._epoch(state.step), state.step, *close_epoch(state), lr)
            actions.append(Tell(epoch))
        if self._again:
            actions.insert(0, Tell(self._compared()))
        return actions + self._go_on(best=False)

    def _compared(self) -> Notice:
        """What has become of a step that was taken back."""
        same, self._again = self.state.sha256() == self._again, ""
        if same:
            return Notice("info", f"step {self.state.step} was computed again: the same bits")
        return Notice("error", f"step {self.state.step} had been applied with wrong bits: it is put right")

    def _step_report(self, total: ShardResult, loss: float, lr: float, seconds: dict[str, float]) -> StepDone:
        state = self.state
        hashed = self.job.hashes(state.step)
        return StepDone(
            step=state.step,
            epoch=(state.step - 1) // self.job.course.sampler.steps_per_epoch,
            loss=loss,
            hits=total.hits,
            samples=total.samples,
            lr=lr,
            state_sha256=state.sha256() if hashed else "",
            tensor_hashes=state.tensor_hashes() if hashed else (),
            worker_seconds=tuple(sorted(seconds.items())),
        )

    def _scored(self, done: ScoreRound) -> list[CoordinatorAction]:
        state, self.past = self.state, None
        total = done.total()
        loss, best = close_score(state, done.split, total, self.job.course)
        report = Evaluated(
            step=done.weights_of,
            epoch=self._epoch(done.weights_of),
            split=done.split,
            loss=loss,
            accuracy=total.hits / total.samples,
            accuracy5=total.hits5 / total.samples,
            samples=total.samples,
            best=best,
        )
        return [Tell(report), *self._go_on(best=best)]

    def _epoch(self, step: int) -> int:
        return step // self.job.course.sampler.steps_per_epoch

    def _go_on(self, *, best: bool) -> list[CoordinatorAction]:
        """Opens the next round; saves first, unless a validation of these very weights is still to come."""
        scored_test = isinstance(self.round, ScoreRound) and self.round.split == "test"
        due = scored_test or best or self.job.checkpoints(self.state.step)
        if self.job.course.next_phase(self.state) == "validation":
            due = False
        self._open_next()
        return [SaveCheckpoint(best=best)] if due else []
