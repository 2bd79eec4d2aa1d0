"""The coordinator as a state machine: events in, actions out. No socket and no clock: `now` comes with each event.

It decides which workers take part, hands their results to the open round, and gives them what there is to do. The
round decides whether a result counts; `Dispatch` chooses which worker gets which shard; `Training` applies a complete
round to the weights, by the functions of `dptrain.loop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from dptrain.cluster.book import Death
from dptrain.cluster.dispatch import IN_FLIGHT, Dispatch
from dptrain.cluster.doubt import Opinion, Verdict
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
    WorkerLost,
    WorkerSilent,
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
from dptrain.cluster.round import Counters, Round, ScoreRound, StepRound, contradiction
from dptrain.cluster.training import Training
from dptrain.cluster.tree import Node
from dptrain.errors import TrainingError
from dptrain.optim.optimizer import Optimizer
from dptrain.optim.schedule import Schedule
from dptrain.state import TrainingState, layout_digest

Signed: TypeAlias = Canary | NodeDone | EvaluationDone | Progress | NonFinite | Leave  #: with term and incarnation

PING_EVERY = 1.0  #: seconds
PARTING = 2.0  #: seconds that the members have to answer that the run is over
LONELY_EVERY = 10.0  #: seconds between notices that no worker is ready
STALEMATE_EVERY = 10.0  #: seconds between notices that two workers disagree and no third one can decide


class Coordinator:
    """Leads the workers through a run.

    `handle` each event, and carry out its actions before the next event, those of one kind in order.
    """

    def __init__(self, job: Job, state: TrainingState, optimizer: Optimizer, schedule: Schedule) -> None:
        self._job = job
        self._training = Training(job, state, optimizer, schedule)
        self._members = Membership()
        self.counters = Counters()
        self._started = False
        self._next_ping = 0.0  #: on the clock of `now`; set at the first event
        self._parting_until = 0.0  #: set at the end
        self._said_lonely = 0.0  #: when the last notice was given that no worker is ready
        self._quiet_until = 0.0  #: no further notice of a stalemate before

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
            actions += self._go_on(now)
        if self._training.ended is not None:
            self._parting_until = now + PARTING
            actions += [self._stop(member.peer, self._training.ended) for member in self._members.all()]
            actions.append(self._training.ended)
        return actions

    def wake_at(self, now: float) -> float | None:
        """When the next Tick must come at the latest, as a worker may be late by then; None: at no special time."""
        current = self._training.round
        return None if current is None else self._look(current, now).wake_at()

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
            return [] if member is None else self._remove(member, gone, now)
        member = self._members.by_incarnation(gone.who.incarnation)
        told = [] if member is None else self._remove(member, gone, now)
        if not gone.shards_suspect:
            self._lives(gone.who.incarnation)
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
            self._lives(message.incarnation)
            return []
        if member is None:
            return [Send(peer, WhoAreYou(self._job.term))]
        if message.term != self._job.term:
            self.counters.outdated += 1
            return []
        if message.incarnation != member.incarnation:
            return self._drop(member, f"signed as {message.incarnation[:8]}, said Hello as another", now)
        if not member.ready and not isinstance(message, Canary | Leave):
            return self._drop(member, f"sent {type(message).__name__} before it was admitted", now)
        member.hear(type(message).__name__, now)
        return self._heard(member, message, now)

    def _heard(self, member: Member, message: Signed, now: float) -> list[CoordinatorAction]:
        match message:
            case Canary():
                return self._canary(member, message, now)
            case Leave(reason=reason):
                gone = self._remove(member, Gone(member.peer, f"left: {reason}", shards_suspect=False), now)
                early = Notice("warning", f"worker {member.name} left before it was admitted: {reason}")
                return gone or [Tell(early)]
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
        fault = hello_fault(self._job, hello) or self._members.expelled(hello.incarnation)
        if fault:
            return self._refuse(peer, f"worker {hello.name}", fault)
        actions: list[CoordinatorAction] = []
        old = self._members.by_incarnation(hello.incarnation)
        if old is not None:
            actions += self._drop(old, "it has connected again", now)
        self._lives(hello.incarnation)
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
                *self._remove(member, Gone(member.peer, "refused", shards_suspect=False), now, Change.WRONG_CANARY),
            ]
        member.tracker.step(Change.CANARY)
        admitted = WorkerAdmitted(member.name, member.hello.pid, member.hello.isa, len(self._members.ready()))
        return [Send(member.peer, Admitted(self._job.term)), Tell(admitted)]

    def _refuse(self, peer: Peer, who: str, reason: str) -> list[CoordinatorAction]:
        notice = Notice("error", f"{who} is refused: {reason}")
        return [Send(peer, Reject(reason)), Ignore(peer, reason), Tell(notice)]

    # --- who goes

    def _drop(self, member: Member, reason: str, now: float, change: Change = Change.LOST) -> list[CoordinatorAction]:
        """Ignores the member's connection from now on, and removes the member."""
        gone = Gone(member.peer, reason, shards_suspect=False)
        return [Ignore(member.peer, reason), *self._remove(member, gone, now, change)]

    def _remove(self, member: Member, gone: Gone, now: float, change: Change = Change.LOST) -> list[CoordinatorAction]:
        """The only way in which a member goes: what it held goes back to the queue."""
        if not self._members.remove(member, change, now):
            return []
        shards: tuple[int, ...] = ()
        current = self._training.round
        if current is not None:
            if gone.shards_suspect:
                held = current.book.held(member.incarnation)
                current.deaths.add(held, Death(member.incarnation, member.name, now))
            given_up = current.book.give_up_all(member.incarnation)
            shards = given_up if isinstance(current, StepRound) else ()
        for _, pace in self._training.speed.values():
            pace.forget(member.incarnation)
        return [Tell(WorkerLost(member.name, gone.reason, shards, len(self._members.ready())))]

    def _lives(self, incarnation: str) -> None:
        """The worker had lost only its connection, or was killed from outside: it did not die of a shard."""
        if self._training.round is not None:
            self._training.round.deaths.forgive(incarnation)

    # --- what they answer

    def _node_done(self, member: Member, m: NodeDone, now: float) -> list[CoordinatorAction]:
        """The sum over some shards of a step."""
        node, state, current = Node(m.first, m.last), self._training.state, self._training.round
        opinion = Opinion(member.incarnation, member.name, m.attempt, m.result)
        if m.step < state.step:
            return self._outdated(member, m, node, opinion, now)
        if not isinstance(current, StepRound) or m.step > current.step:
            return self._drop(member, f"sent a gradient of step {m.step}, which it was not asked for", now)
        if fault := current.fault(m, node):
            return self._drop(member, fault, now)
        # The worker has looked too, and sends NonFinite. A result may still have been damaged after that, and a sum
        # of finite shards may overflow. That the step's whole sum or its update overflows, `loop.update` finds.
        opinion.fault = m.result.not_finite(state.params_layout, state.buffers_layout)
        current.seconds[member.name] = current.seconds.get(member.name, 0.0) + m.seconds
        return self._take(member, current, node, opinion, now)

    def _evaluation_done(self, member: Member, m: EvaluationDone, now: float) -> list[CoordinatorAction]:
        """The counts over one shard of a split."""
        state, current = self._training.state, self._training.round
        if m.step < state.step or (m.split == "validation" and state.evaluated_step >= m.step):
            self.counters.outdated += 1
            return []
        if not isinstance(current, ScoreRound) or (m.step, m.split) != (current.step, current.phase):
            return self._drop(member, f"scored {m.split} at step {m.step}, which it was not asked for", now)
        if fault := current.fault(m):
            return self._drop(member, fault, now)
        opinion = Opinion(member.incarnation, member.name, m.attempt, m.result)
        return self._take(member, current, Node(m.index, m.index + 1), opinion, now)

    def _non_finite(self, member: Member, m: NonFinite, now: float) -> list[CoordinatorAction]:
        """A shard in which this worker found NaN or infinity."""
        node, current = Node(m.shard, m.shard + 1), self._training.round
        opinion: Opinion[Any] = Opinion(member.incarnation, member.name, m.attempt, None, m.tensor, m.result)
        if m.step < self._training.state.step:
            return self._outdated(member, m, node, opinion, now)
        if not isinstance(current, StepRound) or m.step > current.step:
            return self._drop(member, f"sent NonFinite of step {m.step}, which it was not asked for", now)
        if fault := current.fault(m, node):
            return self._drop(member, fault, now)
        return self._take(member, current, node, opinion, now)

    def _progress(self, member: Member, m: Progress, now: float) -> list[CoordinatorAction]:
        """The worker moves. A repetition, or news of what it was not asked for, does not renew its leases."""
        current = self._training.round
        asked = current is not None and m.step == current.step and m.first < current.book.shards
        if current is None or not asked or not current.book.news(member.incarnation, m.first, done=m.done > 0):
            self.counters.outdated += 1
            return []
        current.book.renew(member.incarnation, now)
        if m.done:
            current.pace.observe(member.incarnation, current.book.finished_one(member.incarnation, now))
        return []

    def _take(
        self, member: Member, current: Round, node: Node, opinion: Opinion[Any], now: float
    ) -> list[CoordinatorAction]:
        """A valid result of the open round. One that contradicts the result that counts starts the round over."""
        if current.heard(member.incarnation, node, now):
            member.forgive()
        if opinion.value is None:  # NonFinite: the worker will not send the node that the shard was to be a part of
            current.book.give_up_all(member.incarnation, node.first)
        found: Sequence[Opinion[Any]] = current.take(node, opinion, self.counters)
        if not found:
            return []
        self._training.start_over(node, found)
        names = f"workers {found[0].name} and {opinion.name} found different bits in {node} of {current.title}"
        return [Tell(Notice("warning", f"{names}: it is computed again, and the one that is wrong will be named"))]

    def _outdated(
        self, member: Member, m: NodeDone | NonFinite, node: Node, opinion: Opinion[Any], now: float
    ) -> list[CoordinatorAction]:
        """A result of a step that is applied. Where another worker's result counted and is known, it is compared."""
        self.counters.outdated += 1
        past = self._training.past
        first = None if past is None else past.first(m.step, m.digest, node)
        if past is None or first is None:
            return []
        if fault := past.done.fault(m, node):
            return self._drop(member, fault, now)
        found = contradiction(first, opinion, self.counters)
        if not found:
            return []
        self.counters.disputed += 1
        names = f"workers {found[0].name} and {opinion.name} found different bits in {node} of step {m.step + 1}"
        text = f"{names}, which is applied: it is taken back, and the one that is wrong will be named"
        actions: list[CoordinatorAction] = [Tell(Notice("warning", text))]
        for worker in self._members.ready():  # what they hold or have sent is of no use: they say Hello again
            actions.append(Send(worker.peer, WhoAreYou(self._training.job.term)))
            gone = Gone(worker.peer, "it starts over, because a step was taken back", shards_suspect=False)
            actions += self._remove(worker, gone, now)
        return actions + self._training.take_back(node, found)

    # --- what they are given

    def _go_on(self, now: float) -> list[CoordinatorAction]:
        """Carries out verdicts, applies the round when it is complete, and gives the workers what there is to do."""
        actions = self._training.condemn(now)
        while self._training.ended is None:
            current = self._training.round
            assert current is not None
            settled = self._settle(current, now)
            if settled is not None:
                actions += settled
            elif current.book.complete:
                current.close([m.incarnation for m in self._members.ready()], now)
                actions += self._training.complete()
            else:
                return actions + self._serve(current, now)
        return actions

    def _serve(self, current: Round, now: float) -> list[CoordinatorAction]:
        """Sends the weights to every worker that lacks them, then work while there is some and a worker to take it."""
        actions: list[CoordinatorAction] = []
        for member in self._members.ready():
            if not member.suspect:
                actions += self._weights(member, current)
        while (gift := self._look(current, now).next()) is not None:
            order = current.order(current.book.give(gift.member.incarnation, gift.node, now, gift.terms))
            actions += [*self._weights(gift.member, current), Send(gift.member.peer, order)]
            holder, apart = self._members.by_incarnation(gift.shared), current.apart(gift.node)
            if holder is not None and apart is not None:
                actions.append(Send(holder.peer, apart))
        return actions

    def _look(self, current: Round, now: float) -> Dispatch:
        return Dispatch(current, self._members.ready(), now)

    def _weights(self, member: Member, current: Round) -> list[CoordinatorAction]:
        key = (current.step, current.params.digest)
        if member.has == key:
            return []
        member.has = key
        return [Send(member.peer, current.params)]

    # --- doubts

    def _settle(self, current: Round, now: float) -> list[CoordinatorAction] | None:
        """Carries out the first verdict; None: there is none."""
        if not current.jury.doubtful:
            return None
        witnesses = self._look(current, now).witnesses
        for shard in current.jury.doubtful:
            verdict = current.jury.verdict(shard, len(witnesses))
            if verdict is not None:
                named = [action for wrong in verdict.wrong for action in self._quarantine(wrong, verdict, now)]
                return named + self._training.settle(verdict, self.counters)
            if current.jury.stalemate(shard, witnesses) and witnesses and now >= self._quiet_until:
                self._quiet_until = now + STALEMATE_EVERY
                who = " and ".join(current.jury.names(shard))
                text = f"workers {who} disagree about shard {shard} of {current.title}: one more worker must decide"
                return [Tell(Notice("warning", text))]
        return None

    def _quarantine(self, wrong: Opinion[Any], verdict: Verdict[Any], now: float) -> list[CoordinatorAction]:
        """Two workers agree on other bits than this one found: its process is not admitted again."""
        current, right = self._training.round, verdict.right
        assert current is not None
        self.counters.quarantined += 1
        reason = (
            f"it found {wrong.digest[:12]} in shard {verdict.shard} of {current.title}, worker {right.name} "
            f"{right.digest[:12]}{', twice confirmed' if verdict.confirmed else ''}: this machine computes wrong bits"
        )
        told: list[CoordinatorAction] = [Tell(Notice("error", f"worker {wrong.name} is quarantined: {reason}"))]
        self._members.expel(wrong.incarnation, reason)
        member = self._members.by_incarnation(wrong.incarnation)
        if member is None:
            return told
        return [*told, Send(member.peer, Reject(reason)), *self._drop(member, "quarantined", now, Change.WRONG_BITS)]

    # --- time

    def _tick(self, now: float) -> list[CoordinatorAction]:
        actions = self._expire(now)
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

    def _expire(self, now: float) -> list[CoordinatorAction]:
        """A worker that has been silent for too long is a suspect, and what it held is open again."""
        current = self._training.round
        assert current is not None
        actions: list[CoordinatorAction] = []
        struck: dict[int, Member] = {}
        for assignment in current.book.expired(now):
            current.book.give_up(assignment)
            member = self._members.by_incarnation(assignment.holder)
            assert member is not None, "what a lost worker held was given up when it was removed"
            struck[member.order] = member
            what = f"{assignment.node} of {current.title}"
            actions.append(Tell(WorkerSilent(member.name, assignment.lease, what)))
        for member in struck.values():
            member.strike(now)
        return actions

    # --- for tests

    def validate(self, now: float) -> None:
        """Asserts what must hold between any two events."""
        self._members.validate()
        assert (self._training.round is None) == (self.ended or not self._started)
        if (current := self._training.round) is None:
            return
        assert current.step == self._training.state.step
        assert not current.book.complete, "a complete round was not applied"
        current.book.validate(IN_FLIGHT, current.aside)
        current.validate()
        ready = {m.incarnation: m for m in self._members.ready()}
        assert all(current.book.live(m.incarnation) == 0 for m in self._members.all() if not m.ready)
        assert current.book.holders() <= ready.keys(), "work held by a worker that is gone"
        assert self._look(current, now).next() is None, "a worker is idle while there is work for it"
        for incarnation in current.book.holders():
            assert ready[incarnation].has == (current.step, current.params.digest), "work without its weights"
