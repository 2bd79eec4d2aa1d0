"""Who takes part: connections, incarnations and how far each one has come. Sends nothing, assigns nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from dptrain.cluster.events import Peer
from dptrain.wire.messages import Hello

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
        """For people."""
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
