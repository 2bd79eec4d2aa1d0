"""Decides which connections of a listening socket are too many, too fast, too silent or too large. Closes none itself.

A connection is unknown until a valid message has come over it. The places for unknown connections are few and limited
in time: an attacker who fills them loses his own connections, not those of workers on other hosts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

MOST = 4_096  #: connections in all
MOST_UNKNOWN = 256  #: of them
HELLO_DEADLINE = 10.0  #: seconds from accept to the first valid message; a handshake has 3
BURST, RATE = 100, 20.0  #: connections of one address: at once, then per second
FIRST_BYTES = 256 << 10  #: from an unknown connection: handshake, Hello, heartbeats
_NO_MESSAGE = "it sent data that is not a dptrain message"
_ADDRESSES = 4_096  #: most addresses whose rate is remembered


@dataclass(slots=True)
class Connection:
    """An open connection."""

    fd: int
    address: str
    since: float  #: when it was accepted
    known: bool = False  #: a valid message has come over it
    read: int = 0  #: bytes it had sent when its last message was read


@dataclass(frozen=True, slots=True, eq=False)
class _Early:
    """The last that was read over a connection before libzmq reported it."""

    received: int | None  #: bytes received in total when a valid message was read; None: something invalid was read


class Cut(NamedTuple):
    """A connection to be cut off."""

    fd: int
    address: str
    reason: str


class Connections:
    """All connections of one socket, by file descriptor. `now` is monotonic seconds."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: most bytes that a known connection may have sent since its last message was read. A message may
        have any number of frames, and libzmq hands out none before it has all: without a limit memory could fill up.
        """
        self._most_bytes = most_bytes
        self._all: dict[int, Connection] = {}
        #: What came over a connection before libzmq reported the connection (seen on a busy machine).
        self._early: dict[int, _Early] = {}
        self._allowance: dict[str, tuple[float, float]] = {}  #: address -> (connections it may still open, when)
        self._patience_from: float | None = None  #: when reading began; before that, no connection is too silent

    def __len__(self) -> int:
        return len(self._all)

    def reading(self, now: float) -> None:
        """Messages are read from now on."""
        if self._patience_from is None:
            self._patience_from = now

    def accepted(self, fd: int, address: str, now: float) -> Cut | None:
        """A new connection. Returns one that must be cut off because of it: itself or another."""
        self._all[fd] = Connection(fd, address, now)
        if fd in self._early:
            received = self._early.pop(fd).received
            if received is None:
                return self._cut(fd, _NO_MESSAGE)
            self.heard(fd, received)
        if not self._may_open(address, now):
            return self._cut(fd, f"more than {RATE:g} connections per second")
        if len(self._all) > MOST:
            return self._cut(fd, f"there are {MOST} connections already")
        unknown = [c for c in self._all.values() if not c.known]
        if len(unknown) > MOST_UNKNOWN:
            crowd, _ = Counter(c.address for c in unknown).most_common(1)[0]
            oldest = min((c for c in unknown if c.address == crowd), key=lambda c: c.since)
            return self._cut(oldest.fd, f"{MOST_UNKNOWN} connections have sent no message yet, most of them from it")
        return None

    def _may_open(self, address: str, now: float) -> bool:
        """A token bucket: BURST connections, refilled at RATE per second."""
        left, since = self._allowance.pop(address, (float(BURST), now))
        left = min(float(BURST), left + (now - since) * RATE)
        self._allowance[address] = (left - 1.0 if left >= 1.0 else left, now)
        while len(self._allowance) > _ADDRESSES:
            del self._allowance[next(iter(self._allowance))]
        return left >= 1.0

    def heard(self, fd: int, received: int) -> None:
        """A valid message was read. `received`: bytes received over the connection in total."""
        if fd in self._all:
            self._all[fd].known, self._all[fd].read = True, received
        elif fd >= 0:
            self._early[fd] = _Early(received)

    def condemn(self, fd: int, *, first: bool) -> Cut | None:
        """It sent something invalid, or its peer is ignored. Returns the connection to cut off; None: it has ended,
        or, if this was its `first` message, libzmq has not reported it yet, and it is cut off when that happens.
        """
        if fd in self._all:
            return self._cut(fd, _NO_MESSAGE)
        if first and fd >= 0:
            self._early[fd] = _Early(None)
        return None

    def early(self) -> dict[int, _Early]:
        """Connections that something was read from before libzmq reported them: for `settle`."""
        return dict(self._early)

    def settle(self, early: dict[int, _Early]) -> None:
        """Call it when all events that had happened at the call of `early` are handled. A connection that is not known
        by now ended before its message was read: the descriptor's next owner has nothing to do with it.
        """
        for fd, found in early.items():
            if self._early.get(fd) is found:
                del self._early[fd]

    def closed(self, fd: int) -> None:
        """The connection has ended."""
        self._all.pop(fd, None)
        self._early.pop(fd, None)

    def overdue(self, now: float) -> list[Cut]:
        """The connections that should have sent a message by now."""
        start = self._patience_from
        if start is None:
            return []
        late = [c.fd for c in self._all.values() if not c.known and now - max(c.since, start) >= HELLO_DEADLINE]
        return [self._cut(fd, f"silent for {HELLO_DEADLINE:.0f} s") for fd in late]

    def swollen(self, received: Callable[[int], int]) -> list[Cut]:
        """The connections that sent more than any message has. `received`: bytes received over one in total."""

        def room(c: Connection) -> int:
            return self._most_bytes if c.known else FIRST_BYTES

        fat = [c for c in self._all.values() if received(c.fd) - c.read > room(c)]
        return [self._cut(c.fd, f"sent more than {room(c)} bytes without a dptrain message") for c in fat]

    def address(self, fd: int) -> str:
        """The address of its peer; "": the connection is not known."""
        found = self._all.get(fd)
        return found.address if found else ""

    def _cut(self, fd: int, reason: str) -> Cut:
        return Cut(fd, self._all.pop(fd).address, reason)
