"""The members at work on the rounds of a run: what they are given, what they answer, what becomes of it when they go.

Who may take part is `Coordinator`'s business; what a complete round does to the weights is `Course`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dptrain.cluster.course import Course
from dptrain.cluster.dispatch import IN_FLIGHT, Dispatch
from dptrain.cluster.doubt import Death, Opinion, Verdict
from dptrain.cluster.events import (
    CoordinatorAction,
    Ended,
    Gone,
    Ignore,
    Notice,
    Send,
    Tell,
    WorkerLost,
    WorkerSilent,
)
from dptrain.cluster.members import Change, Member, Membership
from dptrain.cluster.messages import EvaluationDone, NodeDone, NonFinite, Progress, Reject, WhoAreYou
from dptrain.cluster.round import Round, ScoreRound, StepRound, score_digest
from dptrain.cluster.tree import Node
from dptrain.errors import DptrainError

STALEMATE_EVERY = 10.0  #: seconds between notices that nobody can settle a dispute


@dataclass(slots=True)
class Counters:
    """Valid messages that changed nothing, and what was compared."""

    late: int = 0  #: of an earlier term, step or split
    duplicate: int = 0  #: of shards somebody had already done
    disputed: int = 0  #: late results that were not the ones that had been taken: a step was taken back
    agreed: int = 0  #: second results that were the same as the first, bit for bit
    unaudited: int = 0  #: shards that were to be audited while there was only one worker
    quarantined: int = 0  #: workers that found other bits than two others


class Work:
    """Leads the members through `course`, round after round."""

    def __init__(self, course: Course, members: Membership, counters: Counters) -> None:
        self._course, self._members, self.counters = course, members, counters
        self._quiet_until = 0.0  #: no further notice of a stalemate before

    # --- who goes

    def drop(self, member: Member, reason: str, now: float, change: Change = Change.LOST) -> list[CoordinatorAction]:
        """Ignores the member's connection from now on, and removes the member."""
        gone = Gone(member.peer, reason, shards_suspect=False)
        return [Ignore(member.peer, reason), *self.remove(member, gone, now, change)]

    def remove(self, member: Member, gone: Gone, now: float, change: Change = Change.LOST) -> list[CoordinatorAction]:
        """The only way in which a member goes: what it held goes back to the queue."""
        if not self._members.remove(member, change, now):
            return []
        shards: tuple[int, ...] = ()
        current = self._course.round
        if current is not None:
            if gone.shards_suspect:
                held = current.book.held(member.incarnation)
                current.deaths.add(held, Death(member.incarnation, member.name, now))
            given_up = current.book.give_up_all(member.incarnation)
            shards = given_up if isinstance(current, StepRound) else ()
        self._course.forget(member.incarnation)
        return [Tell(WorkerLost(member.name, gone.reason, shards, len(self._members.ready())))]

    def lives(self, incarnation: str) -> None:
        """Whoever had lost only its connection, or was killed from outside, did not die of a shard."""
        if self._course.round is not None:
            self._course.round.deaths.forgive(incarnation)

    def _quarantine(self, wrong: Opinion[Any], verdict: Verdict[Any], now: float) -> list[CoordinatorAction]:
        current, right = self._course.round, verdict.right
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
        return [*told, Send(member.peer, Reject(reason)), *self.drop(member, "quarantined", now, Change.WRONG_BITS)]

    # --- what they answer

    def node_done(self, member: Member, m: NodeDone, now: float) -> list[CoordinatorAction]:
        """The sum over some shards of a step."""
        if m.step < self._course.state.step:
            late = Opinion(member.incarnation, member.name, m.attempt, "", m.result)
            return self._late(m, Node(m.first, m.last), late, m.result.digest, now)
        current, node = self._course.round, Node(m.first, m.last)
        if not isinstance(current, StepRound) or m.step > current.step:
            return self.drop(member, f"sent a gradient of step {m.step}, which it was not asked for", now)
        fault = current.fault(m) or _unasked(current, member, node, f"sent {node} of step {m.step}")
        if fault:
            return self.drop(member, fault, now)
        self._heard_of(member, current, node, now)
        tensor = m.result.not_finite(self._course.state.params_layout, self._course.state.buffers_layout)
        current.seconds[member.name] = current.seconds.get(member.name, 0.0) + m.seconds
        opinion = Opinion(member.incarnation, member.name, m.attempt, "", None if tensor else m.result, tensor)
        return self._found(current, node, opinion, m.result.digest)

    def evaluation_done(self, member: Member, m: EvaluationDone, now: float) -> list[CoordinatorAction]:
        """The counts of one shard of a split."""
        state = self._course.state
        if m.step < state.step or (m.split == "validation" and state.evaluated_step >= m.step):
            self.counters.late += 1
            return []
        current, node = self._course.round, Node(m.index, m.index + 1)
        if not isinstance(current, ScoreRound) or (m.step, m.split) != (current.step, current.split):
            return self.drop(member, f"scored {m.split} at step {m.step}, which it was not asked for", now)
        fault = current.fault(m) or _unasked(current, member, node, f"scored shard {m.index} of {m.split}")
        if fault:
            return self.drop(member, fault, now)
        self._heard_of(member, current, node, now)
        opinion = Opinion(member.incarnation, member.name, m.attempt, "", m)
        return self._found(current, node, opinion, lambda: score_digest(m))

    def non_finite(self, member: Member, m: NonFinite, now: float) -> list[CoordinatorAction]:
        """A shard that holds NaN or infinity, for this worker."""
        if m.step < self._course.state.step:
            late: Opinion[Any] = Opinion(member.incarnation, member.name, m.attempt, "", None, m.tensor)
            return self._late(m, Node(m.shard, m.shard + 1), late, lambda: m.result, now)
        current, node = self._course.round, Node(m.shard, m.shard + 1)
        asked = isinstance(current, StepRound) and m.step == current.step and m.shard < current.book.shards
        if not isinstance(current, StepRound) or not asked or not current.book.was_asked(member.incarnation, node):
            return self.drop(member, f"sent NonFinite of step {m.step}, which it was not asked for", now)
        fault = current.params_fault(m.digest)
        if fault:
            return self.drop(member, fault, now)
        self._heard_of(member, current, node, now)
        current.book.give_up_all(member.incarnation, m.shard)
        opinion: Opinion[Any] = Opinion(member.incarnation, member.name, m.attempt, m.result, None, m.tensor)
        return self._found(current, node, opinion, lambda: m.result)

    def progress(self, member: Member, m: Progress, now: float) -> list[CoordinatorAction]:
        """The worker moves. What it has said before, or was not asked in this round, does not renew its leases."""
        current = self._course.round
        asked = current is not None and m.step == current.step and m.first < current.book.shards
        if current is None or not asked or not current.book.news(member.incarnation, m.first, done=m.done > 0):
            self.counters.late += 1
            return []
        current.book.renew(member.incarnation, now)
        if m.done:
            current.pace.observe(member.incarnation, current.book.finished_one(member.incarnation, now))
        return []

    def _heard_of(self, member: Member, current: Round, node: Node, now: float) -> None:
        """Ends what the worker held of the node and renews the rest."""
        book = current.book
        news = [shard for shard in range(*node) if book.news(member.incarnation, shard, done=True)]
        answered = book.answered(member.incarnation, node)
        if news or answered or book.free(node):  # what it has sent before proves nothing
            current.pace.observe(member.incarnation, book.finished_one(member.incarnation, now))
            book.renew(member.incarnation, now)
            member.forgive()
        for over in answered:
            current.lease.observe(now - over.since, over.node.size)
        current.deaths.done(range(*node))

    def _found(
        self, current: Round, node: Node, opinion: Opinion[Any], digest: Callable[[], str]
    ) -> list[CoordinatorAction]:
        """A valid result, whatever it is: it counts, or is compared, or starts a doubt."""
        doubtful = set(current.jury.doubtful).intersection(range(*node))
        if not current.book.free(node):
            return self._compare(current, node, opinion, digest)
        if opinion.fault and not doubtful:
            current.jury.doubt(range(*node))  # of a sum: each of its shards; of a shard: this one
            doubtful = set(range(*node))
        if node.size > 1 and doubtful:
            self.counters.duplicate += 1  # its shards are to be found one by one
        elif doubtful:
            self.counters.duplicate += not current.jury.hear(node.first, replace(opinion, digest=digest()))
        else:
            current.accept(node, opinion)
        return []

    def _compare(
        self, current: Round, node: Node, opinion: Opinion[Any], digest: Callable[[], str]
    ) -> list[CoordinatorAction]:
        """The second result of shards that are done: a free audit, where it is one of the very same node."""
        self.counters.duplicate += 1
        found = self._contradiction(current.firsts.get(node), opinion, digest)
        if not found:
            return []
        self._course.begin_anew(node, found)
        names = f"workers {found[0].name} and {opinion.name} found different bits in {node} of {current.title}"
        return [Tell(Notice("warning", f"{names}: it is computed again, and whoever is wrong will be named"))]

    def _late(
        self, m: NodeDone | NonFinite, node: Node, opinion: Opinion[Any], digest: Callable[[], str], now: float
    ) -> list[CoordinatorAction]:
        """A result of a step that is applied: where another worker's was taken, and is still known, it is compared."""
        self.counters.late += 1
        past = self._course.past
        first = None if past is None else past.first(m.step, m.digest, node)
        found = self._contradiction(first, opinion, digest)
        if not found:
            return []
        self.counters.disputed += 1
        names = f"workers {found[0].name} and {opinion.name} found different bits in {node} of step {m.step + 1}"
        text = f"{names}, which is applied: it is taken back, and whoever is wrong will be named"
        actions: list[CoordinatorAction] = [Tell(Notice("warning", text))]
        for worker in self._members.ready():  # nothing they hold or have sent is of any use: they say Hello anew
            actions.append(Send(worker.peer, WhoAreYou(self._course.job.term)))
            gone = Gone(worker.peer, "it starts over, because a step was taken back", shards_suspect=False)
            actions += self.remove(worker, gone, now)
        return actions + self._course.take_back(node, found)

    def _contradiction(
        self, first: Opinion[Any] | None, opinion: Opinion[Any], digest: Callable[[], str]
    ) -> list[Opinion[Any]]:
        """Both, where another worker had found other bits of the same node; nothing where they agree or cannot say."""
        if first is None or first.incarnation == opinion.incarnation:
            return []
        known = replace(opinion, digest=digest())
        if known.digest == first.digest:
            self.counters.agreed += 1
            return []
        return [first, known]

    # --- what they are given

    def go_on(self, now: float) -> list[CoordinatorAction]:
        """Takes what is settled, applies what is complete, gives whatever there is to do."""
        actions = self._condemn(now)
        while self._course.ending is None:
            current = self._course.round
            assert current is not None
            settled = self._settle(current, now)
            if settled is not None:
                actions += settled
            elif current.book.complete:
                actions += self._complete(current, now)
            else:
                return actions + self._serve(current, now)
        return actions

    def _settle(self, current: Round, now: float) -> list[CoordinatorAction] | None:
        """The first verdict there is; None: there is none."""
        if not current.jury.doubtful:
            return None
        witnesses = self._dispatch(current, now).witnesses
        for shard in current.jury.doubtful:
            verdict = current.jury.verdict(shard, len(witnesses))
            if verdict is not None:
                return self._execute(current, verdict, now)
            if current.jury.stalemate(shard, witnesses) and witnesses and now >= self._quiet_until:
                self._quiet_until = now + STALEMATE_EVERY
                who = " and ".join(current.jury.names(shard))
                text = f"workers {who} disagree about shard {shard} of {current.title}: one more worker must decide"
                return [Tell(Notice("warning", text))]
        return None

    def _execute(self, current: Round, verdict: Verdict[Any], now: float) -> list[CoordinatorAction]:
        right, actions = verdict.right, list[CoordinatorAction]()
        for wrong in verdict.wrong:
            actions += self._quarantine(wrong, verdict, now)
        if right.fault:
            names = [n for n in current.jury.names(verdict.shard) if n not in {wrong.name for wrong in verdict.wrong}]
            again = f" ({' and '.join(names)} computed the same)" if verdict.confirmed else ""
            place = f"{current.title}, shard {verdict.shard}: {right.fault} is not finite"
            return [*actions, *self._course.diverged(f"{place}{again}")]
        self.counters.agreed += verdict.confirmed
        self.counters.unaudited += not verdict.confirmed
        current.jury.close(verdict.shard)
        current.accept(Node(verdict.shard, verdict.shard + 1), right)
        return actions

    def _complete(self, current: Round, now: float) -> list[CoordinatorAction]:
        busy = current.book.holders()
        for holder in busy:
            current.pace.at_least(holder, now - current.book.moved(holder))
        for member in self._members.ready():
            if not current.book.was_used(member.incarnation):
                current.pace.rested(member.incarnation)
        return self._course.completed()

    def _condemn(self, now: float) -> list[CoordinatorAction]:
        current = self._course.round
        guilty = None if current is None else current.deaths.condemned(now)
        if current is None or guilty is None:
            return []
        shard, names = guilty
        text = f"{current.title}, shard {shard}: workers {', '.join(names)} died computing it"
        return self._course.abort(
            Ended(DptrainError.exit_code, text), f"look at {current.samples_of(shard)}, and at the workers' logs"
        )

    def _serve(self, current: Round, now: float) -> list[CoordinatorAction]:
        """The weights to everybody who lacks them, then work while there is some and somebody to take it."""
        actions: list[CoordinatorAction] = []
        for member in self._members.ready():
            if not member.suspect:
                actions += self._weights(member, current)
        while (gift := self._dispatch(current, now).next()) is not None:
            order = current.order(current.book.give(gift.member.incarnation, gift.node, now, gift.terms))
            actions += [*self._weights(gift.member, current), Send(gift.member.peer, order)]
            holder, apart = self._members.by_incarnation(gift.shared), current.apart(gift.node)
            if holder is not None and apart is not None:
                actions.append(Send(holder.peer, apart))
        return actions

    def _dispatch(self, current: Round, now: float) -> Dispatch:
        book, apart = current.book, (*current.jury.doubtful, *current.deaths.suspicious)
        book.aside = {shard for shard in apart if book.free(Node(shard, shard + 1))}
        return Dispatch(current, self._members.ready(), now)

    def _weights(self, member: Member, current: Round) -> list[CoordinatorAction]:
        key = (current.step, current.params.digest)
        if member.has == key:
            return []
        member.has = key
        return [Send(member.peer, current.params)]

    # --- time

    def wake_at(self, now: float) -> float | None:
        """When a worker will be late while another one is idle; None: that cannot happen."""
        current = self._course.round
        return None if current is None else self._dispatch(current, now).wake_at()

    def expire(self, now: float) -> list[CoordinatorAction]:
        """Whoever has been silent for too long is a suspect, and what it held is open again."""
        current = self._course.round
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
        current = self._course.round
        assert current is not None
        assert current.step == self._course.state.step
        assert not current.book.complete, "a complete round was not applied"
        current.book.validate(IN_FLIGHT)
        current.validate()
        ready = {m.incarnation: m for m in self._members.ready()}
        assert all(current.book.live(m.incarnation) == 0 for m in self._members.all() if not m.ready)
        assert current.book.holders() <= ready.keys(), "work held by nobody"
        assert self._dispatch(current, now).next() is None, "a worker is idle while there is work for it"
        for incarnation in current.book.holders():
            assert ready[incarnation].has == (current.step, current.params.digest), "work without its weights"


def _unasked(current: Round, member: Member, node: Node, what: str) -> str:
    """Why this answer is none: nobody has asked for it; "" where somebody has."""
    return "" if current.book.was_asked(member.incarnation, node) else f"{what}, which it was not asked for"
