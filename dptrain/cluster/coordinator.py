"""The coordinator as a state machine: events in, actions out. It decides who takes part and who computes what.

What a complete round does to the weights is `Course`'s business. No socket, no clock: `now` comes with each event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dptrain.cluster.admission import canary_fault, hello_fault, protocol_fault
from dptrain.cluster.course import Course, Ending
from dptrain.cluster.events import (
    CoordinatorAction,
    CoordinatorEvent,
    Drop,
    Finish,
    Peer,
    PeerGone,
    Received,
    Send,
    StopRequested,
    Tell,
    Tick,
)
from dptrain.cluster.finite import fault_of
from dptrain.cluster.job import Job
from dptrain.cluster.membership import Member, Membership
from dptrain.cluster.reports import Notice, WorkerJoined, WorkerLost
from dptrain.cluster.rounds import Round, ScoreRound, StepRound
from dptrain.cluster.state import TrainingState, layout_digest
from dptrain.cluster.tree import Node
from dptrain.model import ShardResult
from dptrain.optim.optimizer import Optimizer
from dptrain.optim.schedule import Schedule
from dptrain.wire.messages import (
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

Signed: TypeAlias = Canary | NodeDone | EvaluationDone | Progress | NonFinite | Leave  #: with term and incarnation

IN_FLIGHT = 2  #: assignments a worker: one computed, one waiting. More would only make deaths dearer
PING_EVERY = 1.0  #: seconds
LONELY_EVERY = 10.0  #: seconds between notices that nobody is there


@dataclass(slots=True)
class Counters:
    """Valid messages that came too late to matter; they changed nothing."""

    late: int = 0  #: of an earlier term, step or split
    duplicate: int = 0  #: of shards somebody had already done


class Coordinator:
    """Leads the workers through a run. `handle` each event; carry out its actions in order before the next one."""

    def __init__(self, job: Job, state: TrainingState, optimizer: Optimizer, schedule: Schedule) -> None:
        self._job = job
        self._course = Course(job, state, optimizer, schedule)
        self._members = Membership()
        self.counters = Counters()
        self._started = False
        self._finished = False
        self._next_ping = 0.0  #: on the clock of `now`; set at the first event
        self._lonely_since = 0.0  #: when the last ready worker went, or of the last notice about it

    @property
    def state(self) -> TrainingState:
        """The numbers of the run; SaveCheckpoint means these."""
        return self._course.state

    @property
    def finished(self) -> bool:
        """Finish was given; every further event is ignored."""
        return self._finished

    def handle(self, event: CoordinatorEvent, now: float) -> list[CoordinatorAction]:
        """What is to be done because of this event. `now`: monotonic seconds."""
        if self._finished:
            return []
        actions: list[CoordinatorAction] = []
        if not self._started:
            self._started = True
            self._next_ping, self._lonely_since = now + PING_EVERY, now
            actions += self._course.start()
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are looked for, by name
            if self._course.ending is None:
                actions += self._dispatch(event, now)
            if self._course.ending is None:
                actions += self._serve(now)
        if self._course.ending is not None:
            actions += self._finish(self._course.ending)
        return actions

    def _dispatch(self, event: CoordinatorEvent, now: float) -> list[CoordinatorAction]:
        match event:
            case Received(peer, message):
                return self._received(peer, message, now)
            case PeerGone(peer, reason):
                member = self._members.get(peer)
                return [] if member is None else self._remove(member, reason, now)
            case Tick():
                return self._tick(now)
            case StopRequested():
                return self._course.stop(Ending(event.exit_code, event.reason))

    def _finish(self, ending: Ending) -> list[CoordinatorAction]:
        self._finished = True
        stop = Stop(self._job.term, ending.reason[:1000])
        return [*(Send(m.peer, stop) for m in self._members.all()), Finish(ending.code, ending.reason)]

    # --- who takes part

    def _received(self, peer: Peer, message: FromWorker, now: float) -> list[CoordinatorAction]:
        if isinstance(message, Hello):
            return self._hello(peer, message, now)
        if isinstance(message, AskConfig):
            fault = protocol_fault(message.protocol)
            return self._refuse(peer, "an augmenter", fault) if fault else [self._welcome(peer)]
        member = self._members.get(peer)
        if member is None:
            return [Send(peer, WhoAreYou(self._job.term))]
        if message.term != self._job.term:
            self.counters.late += 1
            return []
        if message.incarnation != member.incarnation:
            return self._drop(member, f"signed as {message.incarnation[:8]}, said Hello as another", now)
        if not member.ready and not isinstance(message, Canary | Leave):
            return self._drop(member, f"sent {type(message).__name__} before it was admitted", now)
        member.suspect = False
        return self._heard(member, message, now)

    def _heard(self, member: Member, message: Signed, now: float) -> list[CoordinatorAction]:
        match message:
            case Canary():
                return self._canary(member, message, now)
            case Leave(reason=reason):
                return self._remove(member, f"left: {reason}", now)
            case NodeDone():
                return self._node_done(member, message, now)
            case EvaluationDone():
                return self._evaluation_done(member, message, now)
            case NonFinite():
                return self._non_finite(member, message, now)
            case Progress():
                return self._progress(member, message, now)

    def _hello(self, peer: Peer, hello: Hello, now: float) -> list[CoordinatorAction]:
        known = self._members.get(peer)
        if known is not None:
            if known.incarnation == hello.incarnation:
                self.counters.duplicate += 1
                return []
            return self._drop(known, "said Hello a second time, under another incarnation", now)
        fault = hello_fault(self._job, hello)
        if fault:
            return self._refuse(peer, f"worker {hello.name}", fault)
        actions: list[CoordinatorAction] = []
        old = self._members.by_incarnation(hello.incarnation)
        if old is not None:
            actions += self._drop(old, "it has connected anew", now)
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
            return [*self._refuse(member.peer, f"worker {member.name}", fault), *self._remove(member, "refused", now)]
        member.ready = True
        joined = WorkerJoined(member.name, member.hello.pid, member.hello.isa, len(self._members.ready()))
        return [Send(member.peer, Admitted(self._job.term)), Tell(joined)]

    def _refuse(self, peer: Peer, who: str, reason: str) -> list[CoordinatorAction]:
        notice = Notice("error", f"{who} is refused: {reason}")
        return [Send(peer, Reject(reason)), Drop(peer, reason), Tell(notice)]

    def _drop(self, member: Member, reason: str, now: float) -> list[CoordinatorAction]:
        return [Drop(member.peer, reason), *self._remove(member, reason, now)]

    def _remove(self, member: Member, reason: str, now: float) -> list[CoordinatorAction]:
        """Forgets the member; what it held goes back to the heap."""
        self._members.remove(member)
        if not member.ready:
            return []
        shards: tuple[int, ...] = ()
        if self._course.round is not None:
            given_up = self._course.round.book.give_up_all(member.incarnation)
            shards = given_up if isinstance(self._course.round, StepRound) else ()
        ready = len(self._members.ready())
        if not ready:
            self._lonely_since = now
        return [Tell(WorkerLost(member.name, reason, shards, ready))]

    # --- what they answer

    def _node_done(self, member: Member, m: NodeDone, now: float) -> list[CoordinatorAction]:
        if m.step < self.state.step:
            self.counters.late += 1
            return []
        current, node = self._course.round, Node(m.first, m.last)
        if not isinstance(current, StepRound) or m.step > current.step:
            return self._drop(member, f"sent a gradient of step {m.step}, which it was not asked for", now)
        fault = current.fault(m)
        if not fault and not current.book.was_asked(member.incarnation, node):
            fault = f"sent {node} of step {m.step}, which it was not asked for"
        if fault:
            return self._drop(member, fault, now)
        if not self._answered(member, current, node, now):
            return []
        tensor = fault_of(
            ShardResult(m.gradient, m.statistics, m.loss, m.hits, m.samples),
            self.state.params_layout,
            self.state.buffers_layout,
        )
        if tensor:
            return self._course.diverged(f"{current.title}, {node}: {tensor} is not finite on worker {member.name}")
        current.add(member.name, m)
        return self._course.completed() if current.book.complete else []

    def _evaluation_done(self, member: Member, m: EvaluationDone, now: float) -> list[CoordinatorAction]:
        state = self.state
        if m.step < state.step or (m.split == "validation" and state.evaluated_step >= m.step):
            self.counters.late += 1
            return []
        current, node = self._course.round, Node(m.index, m.index + 1)
        if not isinstance(current, ScoreRound) or (m.step, m.split) != (current.step, current.split):
            return self._drop(member, f"scored {m.split} at step {m.step}, which it was not asked for", now)
        fault = current.fault(m)
        if not fault and not current.book.was_asked(member.incarnation, node):
            fault = f"scored shard {m.index} of {m.split}, which it was not asked for"
        if fault:
            return self._drop(member, fault, now)
        if not self._answered(member, current, node, now):
            return []
        current.add(m)
        return self._course.completed() if current.book.complete else []

    def _answered(self, member: Member, current: Round, node: Node, now: float) -> bool:
        """Ends what the worker held of the node and renews the rest; whether the result is the first one."""
        for over in current.book.answered(member.incarnation, node):
            current.lease.observe(now - over.since, over.node.size)
        current.book.renew(member.incarnation, now)
        if not current.book.free(node):
            self.counters.duplicate += 1
            return False
        return True

    def _non_finite(self, member: Member, m: NonFinite, now: float) -> list[CoordinatorAction]:
        if m.step < self.state.step:
            self.counters.late += 1
            return []
        current = self._course.round
        held = isinstance(current, StepRound) and current.book.was_given(member.incarnation, m.shard)
        if not held or m.step > self.state.step:
            return self._drop(member, f"sent NonFinite of step {m.step}, which it was not asked for", now)
        text = f"step {m.step + 1}, shard {m.shard}: {m.tensor} is not finite on worker {member.name}"
        return self._course.diverged(text)

    def _progress(self, member: Member, m: Progress, now: float) -> list[CoordinatorAction]:
        if m.step < self.state.step:
            self.counters.late += 1
        elif self._course.round is not None:
            self._course.round.book.renew(member.incarnation, now)
        return []

    # --- what they are given

    def _serve(self, now: float) -> list[CoordinatorAction]:
        """The weights to everybody who lacks them, then work while there is some and somebody to take it."""
        current = self._course.round
        assert current is not None
        actions: list[CoordinatorAction] = []
        for member in self._members.ready():
            if not member.suspect:
                actions += self._weights(member, current)
        chunk = current.chunk(len(self._members.ready()))
        while any(current.book.open):
            taker = self._taker(current, chunk)
            node = current.book.choose(taker.incarnation, chunk) if taker else None
            if taker is None or node is None:
                break
            lease = current.lease.length(node.size, current.book.attempt(node))
            order = current.order(current.book.give(taker.incarnation, node, now, lease))
            actions += [*self._weights(taker, current), Send(taker.peer, order)]
        return actions

    def _weights(self, member: Member, current: Round) -> list[CoordinatorAction]:
        key = (current.step, current.params.digest)
        if member.has == key:
            return []
        member.has = key
        return [Send(member.peer, current.params)]

    def _taker(self, current: Round, chunk: int) -> Member | None:
        """Who gets the next assignment: whoever holds least; then who can add it to what it holds; then who came first.

        A suspect gets something only where everybody is one: it may have lost its assignment for good.
        """
        book, ready = current.book, self._members.ready()
        able = [m for m in ready if not m.suspect and book.live(m.incarnation) < IN_FLIGHT]
        if all(m.suspect for m in ready):
            able = [m for m in ready if book.live(m.incarnation) == 0]
        return min(
            able,
            key=lambda m: (book.live(m.incarnation), book.open_sibling(m.incarnation, chunk) is None, m.order),
            default=None,
        )

    # --- time

    def _tick(self, now: float) -> list[CoordinatorAction]:
        actions = self._expire(now)
        if now >= self._next_ping:
            self._next_ping = now + PING_EVERY
            actions += [Send(m.peer, Ping(self._job.term)) for m in self._members.all()]
        if not self._members.ready() and now >= self._lonely_since + LONELY_EVERY:
            self._lonely_since = now
            preparing = len(self._members.all())
            who = f"{preparing} preparing, none ready" if preparing else "none connected"
            actions.append(Tell(Notice("warning", f"waiting for workers: {who}")))
        return actions

    def _expire(self, now: float) -> list[CoordinatorAction]:
        current = self._course.round
        assert current is not None
        actions: list[CoordinatorAction] = []
        for assignment in current.book.expired(now):
            current.book.give_up(assignment)
            member = self._members.by_incarnation(assignment.holder)
            assert member is not None, "what a lost worker held was given up when it was removed"
            member.suspect = True
            text = f"worker {member.name} has been silent for {assignment.lease:.0f} s about {assignment.node}"
            actions.append(Tell(Notice("warning", f"{text} of {current.title}: others may take over")))
        return actions

    # --- for tests

    def validate(self) -> None:
        """Asserts what must hold between any two events."""
        self._members.validate()
        current = self._course.round
        assert self._finished == (self._course.ending is not None)
        assert (current is None) == (self._finished or not self._started)
        if current is None:
            return
        assert current.step == self.state.step
        assert not current.book.complete, "a complete round was not applied"
        current.book.validate(IN_FLIGHT)
        current.validate()
        ready = {m.incarnation: m for m in self._members.ready()}
        assert all(current.book.live(m.incarnation) == 0 for m in self._members.all() if not m.ready)
        assert current.book.holders() <= ready.keys(), "work held by nobody"
        able = any(not m.suspect and current.book.live(i) < IN_FLIGHT for i, m in ready.items())
        assert not (able and any(current.book.open)), "a worker is idle while work is open"
        for incarnation in current.book.holders():
            assert ready[incarnation].has == (current.step, current.params.digest), "work without its weights"
