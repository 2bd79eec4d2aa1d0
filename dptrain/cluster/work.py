"""The workers at work on the open round: what they get, what they answer, what happens to their shards when they go.

`Coordinator` decides which workers take part; `Training` applies a complete round to the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dptrain.cluster.book import Death
from dptrain.cluster.dispatch import IN_FLIGHT, Dispatch
from dptrain.cluster.doubt import Opinion, Verdict
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
from dptrain.cluster.round import Counters, Round, ScoreRound, StepRound, contradiction
from dptrain.cluster.training import Training
from dptrain.cluster.tree import Node
from dptrain.errors import DptrainError

STALEMATE_EVERY = 10.0  #: seconds between notices that two workers disagree and no third one can decide


class Work:
    """Leads the members through the rounds of `training`."""

    def __init__(self, training: Training, members: Membership, counters: Counters) -> None:
        self._training, self._members, self.counters = training, members, counters
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

    def lives(self, incarnation: str) -> None:
        """The worker had lost only its connection, or was killed from outside: it did not die of a shard."""
        if self._training.round is not None:
            self._training.round.deaths.forgive(incarnation)

    # --- what they answer

    def node_done(self, member: Member, m: NodeDone, now: float) -> list[CoordinatorAction]:
        """The sum over some shards of a step."""
        node, state, current = Node(m.first, m.last), self._training.state, self._training.round
        opinion = Opinion(member.incarnation, member.name, m.attempt, m.result)
        if m.step < state.step:
            return self._late(member, m, node, opinion, now)
        if not isinstance(current, StepRound) or m.step > current.step:
            return self.drop(member, f"sent a gradient of step {m.step}, which it was not asked for", now)
        if fault := current.fault(m, node):
            return self.drop(member, fault, now)
        # The worker has looked too, and sends NonFinite. A result may still have been damaged after that, and a sum
        # of finite shards may overflow. That the step's whole sum or its update overflows, `loop.update` finds.
        opinion.fault = m.result.not_finite(state.params_layout, state.buffers_layout)
        current.seconds[member.name] = current.seconds.get(member.name, 0.0) + m.seconds
        return self._take(member, current, node, opinion, now)

    def evaluation_done(self, member: Member, m: EvaluationDone, now: float) -> list[CoordinatorAction]:
        """The counts over one shard of a split."""
        state, current = self._training.state, self._training.round
        if m.step < state.step or (m.split == "validation" and state.evaluated_step >= m.step):
            self.counters.late += 1
            return []
        if not isinstance(current, ScoreRound) or (m.step, m.split) != (current.step, current.phase):
            return self.drop(member, f"scored {m.split} at step {m.step}, which it was not asked for", now)
        if fault := current.fault(m):
            return self.drop(member, fault, now)
        opinion = Opinion(member.incarnation, member.name, m.attempt, m.result)
        return self._take(member, current, Node(m.index, m.index + 1), opinion, now)

    def non_finite(self, member: Member, m: NonFinite, now: float) -> list[CoordinatorAction]:
        """A shard in which this worker found NaN or infinity."""
        node, current = Node(m.shard, m.shard + 1), self._training.round
        opinion: Opinion[Any] = Opinion(member.incarnation, member.name, m.attempt, None, m.tensor, m.result)
        if m.step < self._training.state.step:
            return self._late(member, m, node, opinion, now)
        if not isinstance(current, StepRound) or m.step > current.step:
            return self.drop(member, f"sent NonFinite of step {m.step}, which it was not asked for", now)
        if fault := current.fault(m, node):
            return self.drop(member, fault, now)
        return self._take(member, current, node, opinion, now)

    def progress(self, member: Member, m: Progress, now: float) -> list[CoordinatorAction]:
        """The worker moves. A repetition, or news of what it was not asked for, does not renew its leases."""
        current = self._training.round
        asked = current is not None and m.step == current.step and m.first < current.book.shards
        if current is None or not asked or not current.book.news(member.incarnation, m.first, done=m.done > 0):
            self.counters.late += 1
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

    def _late(
        self, member: Member, m: NodeDone | NonFinite, node: Node, opinion: Opinion[Any], now: float
    ) -> list[CoordinatorAction]:
        """A result of a step that is applied. Where another worker's result counted and is known, it is compared."""
        self.counters.late += 1
        past = self._training.past
        first = None if past is None else past.first(m.step, m.digest, node)
        if past is None or first is None:
            return []
        if fault := past.done.fault(m, node):
            return self.drop(member, fault, now)
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
            actions += self.remove(worker, gone, now)
        return actions + self._training.take_back(node, found)

    # --- what they are given

    def go_on(self, now: float) -> list[CoordinatorAction]:
        """Carries out verdicts, applies the round when it is complete, and gives the workers what there is to do."""
        actions = self._condemn(now)
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

    def _settle(self, current: Round, now: float) -> list[CoordinatorAction] | None:
        """Carries out the first verdict; None: there is none."""
        if not current.jury.doubtful:
            return None
        witnesses = self._look(current, now).witnesses
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
            return [*actions, *self._training.diverged(f"{place}{again}")]
        self.counters.agreed += verdict.confirmed
        self.counters.unaudited += not verdict.confirmed
        current.jury.close(verdict.shard)
        current.accept(Node(verdict.shard, verdict.shard + 1), right)
        return actions

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
        return [*told, Send(member.peer, Reject(reason)), *self.drop(member, "quarantined", now, Change.WRONG_BITS)]

    def _condemn(self, now: float) -> list[CoordinatorAction]:
        """Ends the run where too many workers died on the same shard."""
        current = self._training.round
        guilty = None if current is None else current.deaths.condemned(now)
        if current is None or guilty is None:
            return []
        shard, names = guilty
        text = f"{current.title}, shard {shard}: workers {', '.join(names)} died computing it"
        return self._training.fail(
            Ended(DptrainError.exit_code, text), f"look at {current.samples_of(shard)}, and at the workers' logs"
        )

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

    # --- time

    def wake_at(self, now: float) -> float | None:
        """When a worker will be late while another one is idle; None: never."""
        current = self._training.round
        return None if current is None else self._look(current, now).wake_at()

    def expire(self, now: float) -> list[CoordinatorAction]:
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
        current = self._training.round
        assert current is not None
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
