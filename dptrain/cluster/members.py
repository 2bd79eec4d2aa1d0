"""Which workers take part: their states, how long each may be silent, and how fast each one is.

Sends nothing and assigns nothing: `Coordinator` admits and removes members, and gives them shards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from dptrain.cluster.events import Peer
from dptrain.cluster.messages import Hello
from dptrain.cluster.table import Table, Tracker

SHORTEST = 5.0  #: seconds
LONGEST = 600.0  #: seconds; one absurd measurement must not make a lease endless
FACTOR = 10.0  #: times the median
_MOST_DOUBLINGS = 6  #: 64 x: an unmeasured first shard (a compiling kernel) of up to 5 minutes costs few reassignments


class Lease:
    """How long a worker may be silent: max(5 s, 10 x the median seconds per shard), doubled at each further attempt."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=101)  #: per shard, from assignment to answer; the latest

    def observe(self, seconds: float, shards: int) -> None:
        """An assignment of so many shards was answered after so many seconds."""
        self._seconds.append(seconds / shards)

    def length(self, shards: int, attempt: int) -> float:
        """Seconds an assignment of so many shards may stay silent."""
        median = sorted(self._seconds)[len(self._seconds) // 2] if self._seconds else 0.0
        once = max(SHORTEST, FACTOR * median * shards)
        return float(min(LONGEST, once * 2 ** min(attempt, _MOST_DOUBLINGS)))


LATE = 1.5  #: times the usual seconds per shard: then an idle worker computes the shard too
WORTH = 1.5  #: times the best worker's finish: a slower one gets no shard, and an idle one may take its shards over
_NEWEST = 0.5  #: weight of the newest measurement
_FORGET = 0.98  #: per round. A slow worker is not asked, so not measured: after some 20 rounds it is tried again


class Pace:
    """Seconds per shard, by incarnation."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def observe(self, holder: str, seconds: float) -> None:
        """The worker took so long for one shard."""
        if seconds <= 0.0:
            return
        old = self._seconds.get(holder, seconds)
        self._seconds[holder] = (1 - _NEWEST) * old + _NEWEST * seconds

    def at_least(self, holder: str, seconds: float) -> None:
        """The worker has computed one shard for so long, and it is not done."""
        if seconds > 0.0:
            self._seconds[holder] = max(seconds, self._seconds.get(holder, 0.0))

    def rested(self, holder: str) -> None:
        """The worker was asked for nothing in a whole round: its measurement loses weight."""
        if holder in self._seconds:
            self._seconds[holder] *= _FORGET

    def forget(self, holder: str) -> None:
        """The worker is gone."""
        self._seconds.pop(holder, None)

    def usual(self, holders: Iterable[str]) -> float | None:
        """The median of these workers (of two: the lower one); None while none was measured."""
        known = sorted(self._seconds[h] for h in holders if h in self._seconds)
        return known[(len(known) - 1) // 2] if known else None

    def of(self, holder: str, usual: float) -> float:
        """Of this worker; `usual` while it was not measured."""
        return self._seconds.get(holder, usual)


STRIKES = 3
BARRED = 60.0  #: seconds; a worker that reports progress and sends no result then costs one lease per minute


class State(Enum):
    """Where one worker stands, as the coordinator sees it. The values are the documentation's words."""

    PREPARING = "it has said Hello and was welcomed; it prepares the network, the data and the canary"
    READY = "it is admitted and gets work"
    SUSPECT = "a lease has run out without a message about the work; it gets new work only if no worker is ready"
    GONE = "its connection or its process has ended, or it has left"
    REFUSED = "it cannot take part: its canary or its data set differs from that of the run"
    QUARANTINED = "its result differed from that of two other workers; its process is not admitted again"


class Change(Enum):
    """What moves a member from one state to another. The values are the documentation's words."""

    CANARY = "its canary and its data set are those of the run"
    WRONG_CANARY = "its canary or its data set differs from that of the run"
    HEARD = "a valid message has arrived"
    SILENT = "a lease has run out without a message about the work"
    LOST = "it says Leave, its connection or process ends, or it has sent a message that a correct worker never sends"
    WRONG_BITS = "other workers agree on other bits for a shard that it computed"


_IN = (State.PREPARING, State.READY, State.SUSPECT)
_ADMITTED = (State.READY, State.SUSPECT)

TABLE = Table(
    "member of the coordinator",
    State.PREPARING,
    {
        (State.PREPARING, Change.CANARY): State.READY,
        (State.PREPARING, Change.WRONG_CANARY): State.REFUSED,
        (State.PREPARING, Change.HEARD): State.PREPARING,
        **{(state, Change.HEARD): State.READY for state in _ADMITTED},
        **{(state, Change.SILENT): State.SUSPECT for state in _ADMITTED},
        **{(state, Change.WRONG_BITS): State.QUARANTINED for state in _IN},  # PREPARING: it has come back meanwhile
        **{(state, Change.LOST): State.GONE for state in _IN},
    },
)


@dataclass(slots=True)
class Member:
    """One worker on one connection."""

    peer: Peer
    hello: Hello
    order: int  #: of arrival; smaller came earlier
    heard: float = 0.0  #: when its last valid message came
    strikes: int = 0  #: how many of its leases have run out since its last result
    barred_until: float = -inf  #: after STRIKES of them: until then open shards go to other workers, if there are any
    has: tuple[int, str] = (-1, "")  #: step and digest of the Params it was last sent
    tracker: Tracker[State, Change] = field(default_factory=lambda: Tracker(TABLE))

    @property
    def name(self) -> str:
        return self.hello.name

    @property
    def incarnation(self) -> str:
        """Of its process."""
        return self.hello.incarnation

    @property
    def ready(self) -> bool:
        """Whether it is admitted (a suspect still is)."""
        return self.tracker.state in _ADMITTED

    @property
    def suspect(self) -> bool:
        return self.tracker.state is State.SUSPECT

    def hear(self, message: str, now: float) -> None:
        """A valid message of this type has come: it is no suspect any more."""
        self.heard = now
        self.tracker.note(message)
        self.tracker.step(Change.HEARD)

    def strike(self, now: float) -> None:
        """A lease of it has run out."""
        self.tracker.step(Change.SILENT)
        self.strikes += 1
        if self.strikes >= STRIKES:
            self.barred_until = now + BARRED

    def forgive(self) -> None:
        """It has sent a result of the open round."""
        self.strikes, self.barred_until = 0, -inf


MOST_EXPELLED = 256  #: reasons kept, one per process; a process that was refused does not start again by itself


class Membership:
    """All members, by peer. A process has at most one peer."""

    def __init__(self) -> None:
        self._members: dict[Peer, Member] = {}
        self._arrivals = 0
        self._expelled: dict[str, str] = {}  #: incarnation -> why; the newest ones
        self.lonely_since = 0.0  #: when the last ready worker went

    def add(self, peer: Peer, hello: Hello) -> Member:
        """A worker has said Hello on a new connection."""
        member = self._members[peer] = Member(peer, hello, self._arrivals)
        self._arrivals += 1
        return member

    def remove(self, member: Member, change: Change, now: float) -> bool:
        """It takes no part any more; whether it was ready."""
        was_ready = member.ready
        member.tracker.step(change)
        del self._members[member.peer]
        if was_ready and not self.ready():
            self.lonely_since = now
        return was_ready

    def expel(self, incarnation: str, reason: str) -> None:
        """Does not admit the process again, whether it is connected now or not."""
        self._expelled[incarnation] = reason
        if len(self._expelled) > MOST_EXPELLED:
            del self._expelled[next(iter(self._expelled))]

    def expelled(self, incarnation: str) -> str:
        """Why the process is not admitted again; "" where it may be."""
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
        """Asserts: peers and processes are one to one, in order of arrival, and no member is in a final state."""
        members = self.all()
        assert all(m.peer == peer for peer, m in self._members.items())
        assert len({m.incarnation for m in members}) == len(members)
        assert [m.order for m in members] == sorted(m.order for m in members)
        assert all(m.tracker.state in _IN for m in members)
        assert all(m.ready or m.has == (-1, "") for m in members)
