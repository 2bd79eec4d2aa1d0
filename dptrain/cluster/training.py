"""The training of one run, round by round: applies a complete round to the state, by the functions of `dptrain.loop`.

Also decides what is reported and saved of it, and which round comes next. It knows no worker: `Coordinator` fills the
rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dptrain.cluster.doubt import Opinion, Verdict
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
from dptrain.cluster.round import Applied, Counters, Round, ScoreRound, StepRound
from dptrain.cluster.tree import Node
from dptrain.errors import DivergedError, DptrainError
from dptrain.loop import close_epoch, close_score, update
from dptrain.optim.optimizer import Optimizer
from dptrain.optim.schedule import Schedule
from dptrain.state import TrainingState


class Training:
    """Owns the state. Changes it in `complete`, and takes the last change back in `take_back`."""

    def __init__(self, job: Job, state: TrainingState, optimizer: Optimizer, schedule: Schedule) -> None:
        self.job = job
        self.state = state
        self.round: Round | None = None  #: what the workers compute; None before the start and at the end
        self.ended: Ended | None = None
        self.past: Applied | None = None  #: the step applied last, until the next round is complete
        self._again = ""  #: sha256 of a state whose last step was taken back and is computed again; "": there is none
        self._optimizer = optimizer
        self._schedule = schedule
        self.speed = {"train": (Lease(), Pace()), "score": (Lease(), Pace())}  #: of steps, of scores

    # --- start and end

    def start(self) -> list[CoordinatorAction]:
        """Reports the start and opens the first round, or ends at once where nothing is left to do."""
        job, course = self.job, self.job.course
        self._open_next()
        return [Tell(RunStarted(self.state.step, course.steps, course.sampler.steps_per_epoch, job.term))]

    def stop(self, ended: Ended) -> list[CoordinatorAction]:
        """Ends the run between two steps; a checkpoint holds what is applied."""
        self.round, self.ended = None, ended
        return [SaveCheckpoint(best=False)]

    def fail(self, ended: Ended, advice: str) -> list[CoordinatorAction]:
        """As `stop`, with an error and advice on it."""
        return [Tell(Notice("error", f"{ended.reason}: {advice}", final=True)), *self.stop(ended)]

    def diverged(self, text: str) -> list[CoordinatorAction]:
        """Ends the run without a checkpoint: the last one is finite."""
        self.round, self.ended = None, Ended(DivergedError.exit_code, text)
        advice = f"{DIVERGED}; a lower lr or a longer warm-up may help. The last checkpoint is finite"
        return [Tell(Notice("error", f"{text}: {advice}", final=True))]

    def condemn(self, now: float) -> list[CoordinatorAction]:
        """Ends the run where too many workers died on the same shard."""
        current = self.round
        guilty = None if current is None else current.deaths.condemned(now)
        if current is None or guilty is None:
            return []
        shard, names = guilty
        text = f"{current.title}, shard {shard}: workers {', '.join(names)} died computing it"
        return self.fail(
            Ended(DptrainError.exit_code, text), f"look at {current.samples_of(shard)}, and at the workers' logs"
        )

    # --- rounds

    def settle(self, verdict: Verdict[Any], counters: Counters) -> list[CoordinatorAction]:
        """The right result of a doubtful shard counts. If it is not finite, the training has diverged."""
        current: Any = self.round
        right = verdict.right
        if right.fault:
            names = [n for n in current.jury.names(verdict.shard) if n not in {wrong.name for wrong in verdict.wrong}]
            again = f" ({' and '.join(names)} computed the same)" if verdict.confirmed else ""
            return self.diverged(f"{current.title}, shard {verdict.shard}: {right.fault} is not finite{again}")
        counters.agreed += verdict.confirmed
        counters.unaudited += not verdict.confirmed
        current.jury.close(verdict.shard)
        current.accept(Node(verdict.shard, verdict.shard + 1), right)
        return []

    def _open_next(self) -> None:
        phase, state = self.job.course.next_phase(self.state), self.state
        if phase == "train" and 0 < self.job.stop_after <= state.step:
            self.round, self.ended = None, Ended(0, f"stopped after step {state.step}")
        elif phase:
            self.round = self._open(phase)
        else:
            self.round, self.ended = None, Ended(0, "the run is complete")

    def _open(self, phase: str) -> Round:
        if phase == "train":
            return StepRound(self.job, self.state, *self.speed["train"])
        return ScoreRound(self.job, self.state, phase, *self.speed["score"])

    def start_over(self, node: Node, found: Sequence[Opinion[Any]]) -> None:
        """Two workers found different bits in a node, one of which counted: nothing of the round counts any more."""
        old: Any = self.round
        new: Any = self._open(old.phase)  # of the same class
        new.inherit(old)
        new.doubt(node, found)
        self.round = new

    def take_back(self, node: Node, found: Sequence[Opinion[Any]]) -> list[CoordinatorAction]:
        """Two workers found different bits in a node of the step applied last: goes back to the state before it.

        That state is saved too: a checkpoint of wrong bits would outlive this process.
        """
        assert self.past is not None
        self._again, self.state, self.past = self.state.sha256(), self.past.before, None
        step: Any = self._open("train")
        step.doubt(node, found)
        self.round = step
        return [Tell(TakenBack(self.state.step)), SaveCheckpoint(best=False)]

    def complete(self) -> list[CoordinatorAction]:
        """Every shard of the round is done: changes the state, reports, saves, opens the next round."""
        if isinstance(self.round, StepRound):
            return self._apply_step(self.round)
        assert self.round is not None
        return self._apply_score(self.round)

    def _apply_step(self, done: StepRound) -> list[CoordinatorAction]:
        state, total, lr = self.state, done.tree.root, self._schedule(done.step)
        past, self.past = Applied.of(done, state), None
        try:
            loss = update(state, self._optimizer, total, lr, self.job.course)
        except DivergedError as error:
            return self.diverged(str(error))
        self.past = past
        actions: list[CoordinatorAction] = []
        if self._again:
            actions.append(Tell(self._compared()))
        hashed = self.job.hashes(state.step)
        report = StepDone(
            step=state.step,
            epoch=self._epoch(state.step - 1),
            loss=loss,
            hits=total.hits,
            samples=total.samples,
            lr=lr,
            state_sha256=state.sha256() if hashed else "",
            tensor_hashes=state.tensor_hashes() if hashed else (),
            worker_seconds=tuple(sorted(done.seconds.items())),
        )
        actions.append(Tell(report))
        if self.job.course.ends_epoch(state.step):
            actions.append(Tell(EpochDone(self._epoch(state.step), state.step, *close_epoch(state), lr)))
        return actions + self._go_on(best=False)

    def _compared(self) -> Notice:
        """Whether the step that was taken back has other bits now."""
        same, self._again = self.state.sha256() == self._again, ""
        if same:
            return Notice("info", f"step {self.state.step} was computed again: the same bits")
        return Notice("error", f"step {self.state.step} had been applied with wrong bits: it is put right")

    def _apply_score(self, done: ScoreRound) -> list[CoordinatorAction]:
        self.past = None
        total = done.total()
        loss, best = close_score(self.state, done.phase, total, self.job.course)
        report = Evaluated(
            step=done.weights_of,
            epoch=self._epoch(done.weights_of),
            split=done.phase,
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
        """Opens the next round. Saves first, unless a validation of these very weights is still to come."""
        tested = self.round is not None and self.round.phase == "test"
        course = self.job.course
        phase, early = course.next_phase(self.state), course.gives_up(self.state)
        due = tested or best or early or self.job.checkpoints(self.state.step)
        actions: list[CoordinatorAction] = []
        if early and not tested:
            text = f"no better validation since step {self.state.best_step}: the training ends"
            actions.append(Tell(Notice("info", f"{text} (patience {course.patience})")))
        self._open_next()
        return [*actions, SaveCheckpoint(best=best)] if due and phase != "validation" else actions
