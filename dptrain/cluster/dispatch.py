"""Which worker gets which shard next. Reads the round and the members, changes nothing.

In this order: shards that need another opinion, shards that workers died on, open shards, copies of late shards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

from dptrain.cluster.book import Terms
from dptrain.cluster.doubt import MOST
from dptrain.cluster.members import LATE, WORTH, Member
from dptrain.cluster.round import Round
from dptrain.cluster.tree import Node

IN_FLIGHT = 2  #: assignments per worker: one is computed, one waits. With more, each death would cost more work


@dataclass(frozen=True, slots=True)
class Gift:
    """One assignment to be made."""

    member: Member
    node: Node
    terms: Terms
    shared: str = ""  #: incarnation of a worker that has it too, and must send it by itself now


class Dispatch:
    """One look at a round and its workers."""

    def __init__(self, current: Round, ready: tuple[Member, ...], now: float) -> None:
        self._round, self._book, self._now = current, current.book, now
        self._aside = current.aside
        #: A suspect gets shards only where all workers are suspects: it may have lost its assignment for good.
        self._sound = tuple(m for m in ready if not m.suspect) or ready
        #: A barred worker gets no open shard where others are there, and what it reports is no measure for others.
        self._trusted = tuple(m for m in self._sound if m.barred_until <= now) or self._sound
        self._desperate = all(m.suspect for m in ready)
        most = 1 if self._desperate else IN_FLIGHT
        self._able = [m for m in self._sound if self._live(m) < most and not self._book.holds_only(m.incarnation)]
        if self._desperate:
            # One after another: one of them may live, and those that do not stay silent.
            self._able = sorted(self._able, key=lambda m: (m.strikes, -m.heard, m.order))[:1]
        self._chunk = current.chunk(len(ready))

    def next(self) -> Gift | None:
        """What is to be given now; None: nothing, or there is no worker for it."""
        if not self._able:
            return None
        return self._doubtful() or self._suspicious() or self._open() or self._copy()

    @property
    def witnesses(self) -> tuple[str, ...]:
        """Incarnations that can be asked for an opinion."""
        return tuple(m.incarnation for m in self._sound)

    def wake_at(self) -> float | None:
        """When, if nothing happens before, a worker will be late while another one is idle; None: never."""
        if self._usual is None or not any(self._live(m) == 0 for m in self._able):
            return None
        due = [self._due(h) for h in self._book.holders() - self._late]
        return min(due, default=None)

    # --- the four kinds

    def _doubtful(self) -> Gift | None:
        jury = self._round.jury
        for shard in jury.doubtful:
            holders = self._book.holding(shard)
            if self._round.deaths.waits(shard) or jury.missing(shard) <= len(holders - self._late):
                continue
            fresh = [m for m in self._sound if m.incarnation not in holders and not jury.given(shard, m.incarnation)]
            only = shard in self._round.deaths.suspicious
            able = [m for m in self._able if m.incarnation not in holders and not (only and self._live(m))]
            if fresh:  # busy or not: every worker is asked once before one is asked twice
                able = [m for m in able if m in fresh]
            else:
                able = [m for m in able if jury.given(shard, m.incarnation) < MOST]
            taker = min(able, key=lambda m: (self._live(m), m.order), default=None)
            if taker is not None:
                again = jury.given(shard, taker.incarnation)
                return self._gift(taker, Node(shard, shard + 1), alone=True, only=only, again=again)
        return None

    def _suspicious(self) -> Gift | None:
        deaths = self._round.deaths
        taker = next((m for m in self._able if self._live(m) == 0), None)
        for shard in deaths.suspicious:
            held = self._book.holding(shard) or shard in self._round.jury.doubtful
            if taker is not None and self._free(shard) and not held and not deaths.waits(shard):
                return self._gift(taker, Node(shard, shard + 1), alone=True, only=True)
        return None

    def _open(self) -> Gift | None:
        """Of the workers that are fast enough: the one that holds least; can add it to what it holds; came first."""
        book, is_open = self._book, self._book.open(self._aside)
        worth = [m for m in self._able if m in self._trusted and self._worth(m)] if any(is_open) else []
        if not worth:
            return None
        beside = {m.order: book.open_sibling(m.incarnation, self._chunk, is_open) for m in worth}
        taker = min(worth, key=lambda m: (self._live(m), beside[m.order] is None, m.order))
        return self._gift(taker, beside[taker.order] or book.untouched(self._chunk, is_open))

    def _copy(self) -> Gift | None:
        """A shard that another worker still has to compute, from the end of its queue: the two meet in the middle."""
        usual, pace = self._usual, self._round.pace
        if usual is None:
            return None
        for taker in self._able:
            own = pace.of(taker.incarnation, usual)
            if self._live(taker) or own > 2 * usual:
                continue
            found = [self._last_shard(holder, taker, usual) for holder in self._book.holders()]
            worth = [f for f in found if f is not None and f[0] > WORTH * own]
            if worth:
                _, holder, shard = max(worth)
                gift = self._gift(taker, Node(shard, shard + 1), alone=True)
                return replace(gift, shared=holder)
        return None

    def _last_shard(self, holder: str, taker: Member, usual: float) -> tuple[float, str, int] | None:
        """The last shard in its queue that only this worker has, and in how many seconds it will be done."""
        queue = self._book.waiting(holder, self._aside)
        for at, shard in reversed(list(enumerate(queue, 1))):
            if self._book.holding(shard) == {holder} and not self._book.was_asked(
                taker.incarnation, Node(shard, shard + 1)
            ):
                left = self._book.moved(holder) + at * self._round.pace.of(holder, usual) - self._now
                return (inf if holder in self._late else left), holder, shard
        return None

    # --- reading

    @cached_property
    def _usual(self) -> float | None:
        return self._round.pace.usual(m.incarnation for m in self._trusted)

    @cached_property
    def _late(self) -> set[str]:
        return {h for h in self._book.holders() if self._usual is not None and self._due(h) <= self._now}

    def _gift(self, member: Member, node: Node, *, alone: bool = False, only: bool = False, again: int = 0) -> Gift:
        lease = self._round.lease.length(node.size, self._book.attempt(node) + again)
        return Gift(member, node, Terms(lease, alone, only, again))

    def _worth(self, member: Member) -> bool:
        """Whether this worker would not finish much later than the best one, which may be busy for a moment."""
        return self._usual is None or self._desperate or self._finish(member) <= WORTH * self._soonest

    @cached_property
    def _soonest(self) -> float:
        return min(map(self._finish, self._trusted))

    def _finish(self, member: Member) -> float:
        assert self._usual is not None
        shards = len(self._book.held(member.incarnation)) + self._chunk
        return shards * self._round.pace.of(member.incarnation, self._usual)

    def _due(self, holder: str) -> float:
        assert self._usual is not None
        return self._book.moved(holder) + LATE * self._usual

    def _live(self, member: Member) -> int:
        return self._book.live(member.incarnation)

    def _free(self, shard: int) -> bool:
        return self._book.free(Node(shard, shard + 1))
