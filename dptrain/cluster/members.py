"""Who takes part: connections, incarnations and how far each one has come. Sends nothing, assigns nothing."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from dptrain.cluster.events import Peer
from dptrain.cluster.job import Job
from dptrain.cluster.messages import PROTOCOL, Canary, Hello, Welcome

SHORTEST = 5.0  #: seconds
LONGEST = 600.0  #: seconds; one absurd observation must not mean for ever
FACTOR = 10.0  #: times the median
_MOST_DOUBLINGS = 6  #: 64 x: an unmeasured first shard (a compiling kernel) of up to 5 minutes costs few reassignments


class Lease:
    """max(5 s, 10 x the median seconds a shard has taken), doubled with every further attempt at the same shards."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=101)  #: a shard, from assignment to answer, the latest ones

    def observe(self, seconds: float, shards: int) -> None:
        """An assignment of so many shards was answered after so many seconds."""
        self._seconds.append(seconds / shards)

    def length(self, shards: int, attempt: int) -> float:
        """Seconds an assignment of so many shards may stay silent."""
        median = sorted(self._seconds)[len(self._seconds) // 2] if self._seconds else 0.0
        once = max(SHORTEST, FACTOR * median * shards)
        return float(min(LONGEST, once * 2 ** min(attempt, _MOST_DOUBLINGS)))


LATE = 1.5  #: times the usual seconds a shard: then an idle worker computes it too
WORTH = 1.5  #: times the best worker's finish: who would need longer is not asked, and can be relieved by who is idle
_NEWEST = 0.5  #: weight of the newest observation
_FORGET = 0.98  #: a round. Who is slow is not asked, so not seen: after some 20 rounds (of 1.5 x) it is tried again


class Pace:
    """Seconds a shard, by incarnation."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def observe(self, holder: str, seconds: float) -> None:
        """The worker took so long for one shard."""
        if seconds <= 0.0:
            return
        old = self._seconds.get(holder, seconds)
        self._seconds[holder] = (1 - _NEWEST) * old + _NEWEST * seconds

    def at_least(self, holder: str, seconds: float) -> None:
        """The worker has been at one shard for so long, and it is not done."""
        if seconds > 0.0:
            self._seconds[holder] = max(seconds, self._seconds.get(holder, 0.0))

    def rested(self, holder: str) -> None:
        """The worker was asked for nothing in a whole round: what is known of it grows old."""
        if holder in self._seconds:
            self._seconds[holder] *= _FORGET

    def forget(self, holder: str) -> None:
        """It is gone."""
        self._seconds.pop(holder, None)

    def usual(self, holders: Iterable[str]) -> float | None:
        """The median of these workers, the lower one of two; None while none is known."""
        known = sorted(self._seconds[h] for h in holders if h in self._seconds)
        return known[(len(known) - 1) // 2] if known else None

    def of(self, holder: str, usual: float) -> float:
        """Of this worker; the usual while nothing is known of it."""
        return self._seconds.get(holder, usual)


_INCARNATION = re.compile("[0-9a-f]{32}")


def protocol_fault(protocol: int) -> str:
    """Why a peer of this protocol cannot be understood; "" where it can."""
    if protocol == PROTOCOL:
        return ""
    return f"it speaks protocol {protocol}, the coordinator {PROTOCOL}: install the same dptrain on both sides"


def hello_fault(job: Job, hello: Hello) -> str:
    """Why this worker cannot take part, whatever it does; "" where it can."""
    fault = protocol_fault(hello.protocol)
    if fault:
        return fault
    if not _INCARNATION.fullmatch(hello.incarnation):
        return f"its incarnation is {hello.incarnation[:40]!r}: must be 32 hex digits"
    if hello.numerics != job.numerics:
        return f"it computes in {hello.numerics!r}, the run in {job.numerics!r}: install the same dptrain on both sides"
    return ""


def layout_fault(layout: str, welcome: Welcome) -> str:
    """Why the network a worker has built, of this `layout_digest`, is not the run's; "" where it is. Its own check."""
    if layout == welcome.layout:
        return ""
    text = f"the network built here has layout {layout[:12]}, the run's {welcome.layout[:12]}"
    return f"{text}: install the same dptrain, and the same file of a network of your own, on both sides"


def canary_fault(job: Job, canary: Canary) -> str:
    """Why what the worker has prepared does not fit the run; "" where it does."""
    if canary.dataset != job.dataset:
        return (
            f"its data set is {canary.dataset[:12]}, the run's {job.dataset[:12]}: "
            "put the same files on both hosts, or check --data-dir"
        )
    if canary.digest != job.canary:
        return (
            f"its canary shard gave {canary.digest[:12]}, the run's {job.canary[:12]}: this machine or its version of "
            "dptrain, numba or numpy computes other bits"
        )
    return ""


STRIKES = 3
BARRED = 60.0  #: seconds; who says much and computes nothing then costs a lease a minute, and who was paused comes back


@dataclass(slots=True)
class Member:
    """One worker on one connection."""

    peer: Peer
    hello: Hello
    order: int  #: of arrival; smaller came earlier
    ready: bool = False  #: its canary was right
    suspect: bool = False  #: a lease of it has run out and it has not been heard since: it gets no new work
    heard: float = 0.0  #: when its last valid message came
    strikes: int = 0  #: how often leases of it have run out since its last result
    barred_until: float = -inf  #: after STRIKES of them: open shards are for others until then, where there are any
    has: tuple[int, str] = (-1, "")  #: step and digest of the Params it was last sent

    def strike(self, now: float) -> None:
        """A lease of it has run out."""
        self.suspect = True
        self.strikes += 1
        if self.strikes >= STRIKES:
            self.barred_until = now + BARRED

    def forgive(self) -> None:
        """It has sent a result of the round that is open."""
        self.strikes, self.barred_until = 0, -inf

    @property
    def name(self) -> str:
        return self.hello.name

    @property
    def incarnation(self) -> str:
        """Of the process."""
        return self.hello.incarnation


MOST_EXPELLED = 256  #: a name each; a process that was refused does not start again by itself


class Membership:
    """All members, by peer. An incarnation has at most one peer."""

    def __init__(self) -> None:
        self._members: dict[Peer, Member] = {}
        self._arrivals = 0
        self._expelled: dict[str, str] = {}  #: incarnation -> why; the newest ones
        self.lonely_since = 0.0  #: when the last ready worker went

    def add(self, peer: Peer, hello: Hello) -> Member:
        """A worker has said Hello on a connection not known before."""
        member = self._members[peer] = Member(peer, hello, self._arrivals)
        self._arrivals += 1
        return member

    def remove(self, member: Member, now: float) -> None:
        """It is gone."""
        del self._members[member.peer]
        if member.ready and not self.ready():
            self.lonely_since = now

    def expel(self, incarnation: str, reason: str) -> None:
        """Whoever is this process is not to come back, connected or not."""
        self._expelled[incarnation] = reason
        if len(self._expelled) > MOST_EXPELLED:
            del self._expelled[next(iter(self._expelled))]

    def expelled(self, incarnation: str) -> str:
        """Why it is not to come back; "" where it may."""
        return self._expelled.get(incarnation, "")

    def get(self, peer: Peer) -> Member | None:
        """The member on this connection."""
        return self._members.get(peer)

    def by_incarnation(self, incarnation: str) -> Member | None:
        """The member that is this process."""
        return next((m for m in self._members.values() if m.incarnation == incarnation), None)

    def all(self) -> tuple[Member, ...]:
        """In order of arrival."""
        return tuple(self._members.values())

    def ready(self) -> tuple[Member, ...]:
        """The admitted ones, in order of arrival."""
        return tuple(m for m in self._members.values() if m.ready)

    def validate(self) -> None:
        """Peers and incarnations are one to one; order is order of arrival."""
        members = self.all()
        assert all(m.peer == peer for peer, m in self._members.items())
        assert len({m.incarnation for m in members}) == len(members)
        assert [m.order for m in members] == sorted(m.order for m in members)
        assert all(m.ready or (not m.suspect and m.has == (-1, "")) for m in members)
