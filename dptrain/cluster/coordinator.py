"""The coordinator as a state machine: events in, actions out. No socket and no clock: `now` comes with each event.

This file decides which workers take part, and when the run ends. `Work` gives the members shards and takes their
results; `Training` applies complete rounds to the weights, by the functions of `dptrain.loop`.
"""

from __future__ import annotations

from typing import TypeAlias

from dptrain.cluster.events import (
    CoordinatorAction,
    CoordinatorEvent,
    Ended,
    Gone,
    Ignore,
    Notice,
    Peer,
    Received,
    Send,
    StopRequested,
    Tell,
    Tick,
    WorkerAdmitted,
)
from dptrain.cluster.job import Job, canary_fault, hello_fault, protocol_fault
from dptrain.cluster.members import Change, Member, Membership
from dptrain.cluster.messages import (
    Admitted,
    AskConfig,
    Canary,
    EvaluationDone,
    FromWorker,
    Hello,
    Leave,
    NodeDone,
    NonFinite,
    Ping,
    Progress,
    Reject,
    Stop,
    Welcome,
    WhoAreYou,
)
from dptrain.cluster.round import Counters
from dptrain.cluster.training import Training
from dptrain.cluster.work import Work
from dptrain.errors import TrainingError
from dptrain.optim.optimizer import Optimizer
from dptrain.optim.schedule import Schedule
from dptrain.state import TrainingState, layout_digest

Signed: TypeAlias = Canary | NodeDone | EvaluationDone | Progress | NonFinite | Leave  #: with term and incarnation

PING_EVERY = 1.0  #: seconds
PARTING = 2.0  #: seconds that the members have to answer that the run is over
LONELY_EVERY = 10.0  #: seconds between notices that no worker is ready


class Coordinator:
    """Leads the workers through a run.

    `handle` each event, and carry out its actions before the next event, those of one kind in order.
    """

    def __init__(self, job: Job, state: TrainingState, optimizer: Optimizer, schedule: Schedule) -> None:
        self._job = job
        self._training = Training(job, state, optimizer, schedule)
        self._members = Membership()
        self.counters = Counters()
        self._work = Work(self._training, self._members, self.counters)
        self._started = False
        self._next_ping = 0.0  #: on the clock of `now`; set at the first event
        self._parting_until = 0.0  #: set at the end
        self._said_lonely = 0.0  #: when the last notice was given that no worker is ready

    @property
    def state(self) -> TrainingState:
        """The numbers of the run: what SaveCheckpoint saves."""
        return self._training.state

    @property
    def ended(self) -> bool:
        """Whether Ended was returned: nothing is decided any more."""
        return self._training.ended is not None

    def parting(self, now: float) -> bool:
        """Whether the run is over and a member has not answered yet: closing its connection now could cut Stop off."""
        return self.ended and now < self._parting_until and bool(self._members.all())

    def handle(self, event: CoordinatorEvent, now: float) -> list[CoordinatorAction]:
        """The actions that follow from this event. `now`: monotonic seconds."""
        ended = self._training.ended
        if ended is not None:
            return self._part(event, ended, now)
        actions: list[CoordinatorAction] = []
        if not self._started:
            self._started = True
            self._next_ping, self._members.lonely_since = now + PING_EVERY, now
            actions += self._training.start()
        if self._training.ended is None:
            actions += self._decide(event, now)
        if self._training.ended is None:
            actions += self._work.go_on(now)
        if self._training.ended is not None:
            self._parting_until = now + PARTING
            actions += [self._stop(member.peer, self._training.ended) for member in self._members.all()]
            actions.append(self._training.ended)
        return actions

    def wake_at(self, now: float) -> float | None:
        """When the next Tick must come at the latest, as a worker may be late by then; None: at no special time."""
        return None if self.ended or not self._started else self._work.wake_at(now)

    def _decide(self, event: CoordinatorEvent, now: float) -> list[CoordinatorAction]:
        match event:
            case Received(peer, message):
                return self._received(peer, message, now)
            case Gone():
                return self._gone(event, now)
            case Tick():
                return self._tick(now)
            case StopRequested():
                return self._training.stop(Ended(event.exit_code, event.reason))

    def _stop(self, peer: Peer, ended: Ended) -> Send:
        return Send(peer, Stop(self._job.term, ended.reason[:1000]))

    def _part(self, event: CoordinatorEvent, ended: Ended, now: float) -> list[CoordinatorAction]:
        """The run is over. A member answers Stop with Leave or hangs up; a worker that comes only now gets Stop too."""
        match event:
            case Tick():
                return [Send(m.peer, Ping(self._job.term)) for m in self._members.all()]  # fails where it has hung up
            case Received(peer, Leave()) | Gone(bytes(peer)):
                member = self._members.get(peer)
                if member is not None:
                    self._members.remove(member, Change.LOST, now)
            case Received(peer, message):
                if self._members.get(peer) is None and not isinstance(message, AskConfig):
                    return [self._stop(peer, ended)]
        return []

    def _gone(self, gone: Gone, now: float) -> list[CoordinatorAction]:
        """Of a worker that was started here, the connection and the process are both reported, in either order: the
        first report removes it; a kill from outside clears the shards it held of suspicion, whichever came first.
        """
        if isinstance(gone.who, bytes):
            member = self._members.get(gone.who)
            return [] if member is None else self._work.remove(member, gone, now)
        member = self._members.by_incarnation(gone.who.incarnation)
        told = [] if member is None else self._work.remove(member, gone, now)
        if not gone.shards_suspect:
            self._work.lives(gone.who.incarnation)
        return told or [Tell(Notice("warning", f"{gone.who} {gone.reason}"))]

    # --- who takes part

    def _received(self, peer: Peer, message: FromWorker, now: float) -> list[CoordinatorAction]:
        if isinstance(message, Hello):
            return self._hello(peer, message, now)
        if isinstance(message, AskConfig):
            fault = protocol_fault(message.protocol)
            return self._refuse(peer, "an augmenter", fault) if fault else [self._welcome(peer)]
        member = self._members.get(peer)
        if member is None and isinstance(message, Leave):  # its connection ended first: its shards are not to blame
            self._work.lives(message.incarnation)
            return []
        if member is None:
            return [Send(peer, WhoAreYou(self._job.term))]
        if message.term != self._job.term:
            self.counters.late += 1
            return []
        if message.incarnation != member.incarnation:
            return self._work.drop(member, f"signed as {message.incarnation[:8]}, said Hello as another", now)
        if not member.ready and not isinstance(message, Canary | Leave):
            return self._work.drop(member, f"sent {type(message).__name__} before it was admitted", now)
        member.hear(type(message).__name__, now)
        return self._heard(member, message, now)

    def _heard(self, member: Member, message: Signed, now: float) -> list[CoordinatorAction]:
        match message:
            case Canary():
                return self._canary(member, message, now)
            case Leave(reason=reason):
                gone = self._work.remove(member, Gone(member.peer, f"left: {reason}", shards_suspect=False), now)
                early = Notice("warning", f"worker {member.name} left before it was admitted: {reason}")
                return gone or [Tell(early)]
            case NodeDone():
                return self._work.node_done(member, message, now)
            case EvaluationDone():
                return self._work.evaluation_done(member, message, now)
            case NonFinite():
                return self._work.non_finite(member, message, now)
            case Progress():
                return self._work.progress(member, message, now)

    def _hello(self, peer: Peer, hello: Hello, now: float) -> list[CoordinatorAction]:
        known = self._members.get(peer)
        if known is not None:
            if known.incarnation == hello.incarnation:
                self.counters.duplicate += 1
                return []
            return self._work.drop(known, "said Hello a second time, under another incarnation", now)
        fault = hello_fault(self._job, hello) or self._members.expelled(hello.incarnation)
        if fault:
            return self._refuse(peer, f"worker {hello.name}", fault)
        actions: list[CoordinatorAction] = []
        old = self._members.by_incarnation(hello.incarnation)
        if old is not None:
            actions += self._work.drop(old, "it has connected again", now)
        self._work.lives(hello.incarnation)
        self._members.add(peer, hello)
        return [*actions, self._welcome(peer)]

    def _welcome(self, peer: Peer) -> Send:
        job, state = self._job, self.state
        layout = layout_digest(state.params_layout, state.buffers_layout)
        return Send(peer, Welcome(job.term, job.identity, job.config, job.dataset, layout))

    def _canary(self, member: Member, message: Canary, now: float) -> list[CoordinatorAction]:
        if member.ready:
            self.counters.duplicate += 1
            return []
        fault = canary_fault(self._job, message)
        if fault:
            return [
                *self._refuse(member.peer, f"worker {member.name}", fault),
                *self._work.remove(
                    member, Gone(member.peer, "refused", shards_suspect=False), now, Change.WRONG_CANARY
                ),
            ]
        member.tracker.step(Change.CANARY)
        admitted = WorkerAdmitted(member.name, member.hello.pid, member.hello.isa, len(self._members.ready()))
        return [Send(member.peer, Admitted(self._job.term)), Tell(admitted)]

    def _refuse(self, peer: Peer, who: str, reason: str) -> list[CoordinatorAction]:
        notice = Notice("error", f"{who} is refused: {reason}")
        return [Send(peer, Reject(reason)), Ignore(peer, reason), Tell(notice)]

    # --- time

    def _tick(self, now: float) -> list[CoordinatorAction]:
        actions = self._work.expire(now)
        if now >= self._next_ping:
            self._next_ping = now + PING_EVERY
            actions += [Send(m.peer, Ping(self._job.term)) for m in self._members.all()]
        return actions if self._members.ready() else actions + self._alone(now)

    def _alone(self, now: float) -> list[CoordinatorAction]:
        """No worker is ready: reports it now and then, and ends the run after --max-wait."""
        since, most = self._members.lonely_since, self._job.max_wait
        if 0.0 < most <= now - since:
            ending = Ended(TrainingError.exit_code, f"no worker for {most:.0f} s (--max-wait)")
            return self._training.fail(ending, "the run can be resumed")
        if now < max(since, self._said_lonely) + LONELY_EVERY:
            return []
        self._said_lonely = now
        preparing = len(self._members.all())
        who = f"{preparing} preparing, none ready" if preparing else "none connected"
        return [Tell(Notice("warning", f"waiting for workers: {who}"))]

    # --- for tests

    def validate(self, now: float) -> None:
        """Asserts what must hold between any two events."""
        self._members.validate()
        assert (self._training.round is None) == (self.ended or not self._started)
        if self._training.round is not None:
            self._work.validate(now)
