"""Which connections of a listening socket are too many, too fast, too silent or too fat. Decides, cuts nothing off.

A connection is unknown until a valid message has come over it. Unknown ones are few, and only for a while: whoever
fills the places of strangers loses his own, not those of a worker on another host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

MOST = 4_096  #: connections in all
MOST_UNKNOWN = 256  #: of them
HELLO_DEADLINE = 10.0  #: seconds from accept to the first valid message; a handshake has 3
BURST, RATE = 100, 20.0  #: connections of one address: at once, and a second from then on
FIRST_BYTES = 256 << 10  #: of an unknown one: handshake, Hello, heartbeats
_NO_MESSAGE = "it sent what is no message of ours"
_ADDRESSES = 4_096  #: whose rate is remembered


@dataclass(slots=True)
class Connection:
    """One that was accepted and not yet closed."""

    fd: int
    address: str
    since: float  #: accepted
    known: bool = False  #: a valid message has come over it
    read: int = 0  #: bytes it had sent when its last message was read


@dataclass(frozen=True, slots=True, eq=False)
class _Early:
    """The last that was read."""

    received: int | None  #: bytes in all when it was a valid message; None: it was something else


class Cut(NamedTuple):
    """To be cut off."""

    fd: int
    address: str
    reason: str


class Connections:
    """All connections of one socket, by file descriptor. `now` is monotonic seconds."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: that a known one may have sent since its last message was read. Messages may have any number of
        frames, of which libzmq hands out none before it has all: without this limit, memory would have none.
        """
        self._most_bytes = most_bytes
        self._all: dict[int, Connection] = {}
        #: What came over a connection before anybody told that it is there (seen on a busy machine).
        self._early: dict[int, _Early] = {}
        self._allowance: dict[str, tuple[float, float]] = {}  #: address -> (connections it may still open, when)
        self._patience_from: float | None = None  #: when somebody began to read; before, silence is nobody's fault

    def __len__(self) -> int:
        return len(self._all)

    def reading(self, now: float) -> None:
        """Messages are being read from now on."""
        if self._patience_from is None:
            self._patience_from = now

    def accepted(self, fd: int, address: str, now: float) -> Cut | None:
        """A new one, and who has to go for it: itself or another."""
        self._all[fd] = Connection(fd, address, now)
        if fd in self._early:
            received = self._early.pop(fd).received
            if received is None:
                return self._cut(fd, _NO_MESSAGE)
            self.heard(fd, received)
        if not self._may_open(address, now):
            return self._cut(fd, f"more than {RATE:g} connections a second")
        if len(self._all) > MOST:
            return self._cut(fd, f"there are {MOST} connections already")
        unknown = [c for c in self._all.values() if not c.known]
        if len(unknown) > MOST_UNKNOWN:
            crowd, _ = Counter(c.address for c in unknown).most_common(1)[0]
            oldest = min((c for c in unknown if c.address == crowd), key=lambda c: c.since)
            return self._cut(oldest.fd, f"{MOST_UNKNOWN} connections have said nothing yet, most of them from there")
        return None

    def _may_open(self, address: str, now: float) -> bool:
        """A bucket of BURST connections that fills at RATE a second."""
        left, since = self._allowance.pop(address, (float(BURST), now))
        left = min(float(BURST), left + (now - since) * RATE)
        self._allowance[address] = (left - 1.0 if left >= 1.0 else left, now)
        while len(self._allowance) > _ADDRESSES:
            del self._allowance[next(iter(self._allowance))]
        return left >= 1.0

    def heard(self, fd: int, received: int) -> None:
        """A valid message was read; so many bytes have come over the connection in all."""
        if fd in self._all:
            self._all[fd].known, self._all[fd].read = True, received
        elif fd >= 0:
            self._early[fd] = _Early(received)

    def condemn(self, fd: int, *, first: bool) -> Cut | None:
        """What came over it is no message, or nothing is wanted of it any more. None: it is gone; or, if that was its
        `first` message, nobody has told yet that it is there, and it is cut off then.
        """
        if fd in self._all:
            return self._cut(fd, _NO_MESSAGE)
        if first and fd >= 0:
            self._early[fd] = _Early(None)
        return None

    def early(self) -> dict[int, _Early]:
        """Of whom something was read while nobody had told that they are there: for `settle`."""
        return dict(self._early)

    def settle(self, early: dict[int, _Early]) -> None:
        """Everything has been told that had happened when `early` was asked for. Who is not there now has gone before
        its message was read; the descriptor's next owner has nothing to do with it.
        """
        for fd, found in early.items():
            if self._early.get(fd) is found:
                del self._early[fd]

    def closed(self, fd: int) -> None:
        """It is gone."""
        self._all.pop(fd, None)
        self._early.pop(fd, None)

    def overdue(self, now: float) -> list[Cut]:
        """Who should have said something by now."""
        start = self._patience_from
        if start is None:
            return []
        late = [c.fd for c in self._all.values() if not c.known and now - max(c.since, start) >= HELLO_DEADLINE]
        return [self._cut(fd, f"silent for {HELLO_DEADLINE:.0f} s") for fd in late]

    def swollen(self, received: Callable[[int], int]) -> list[Cut]:
        """Who has sent more than any message has; `received`: bytes that have come over a connection in all."""

        def room(c: Connection) -> int:
            return self._most_bytes if c.known else FIRST_BYTES

        fat = [c for c in self._all.values() if received(c.fd) - c.read > room(c)]
        return [self._cut(c.fd, f"sent more than {room(c)} bytes without a message of ours") for c in fat]

    def address(self, fd: int) -> str:
        """Whose it is; "" where it is not known."""
        found = self._all.get(fd)
        return found.address if found else ""

    def _cut(self, fd: int, reason: str) -> Cut:
        return Cut(fd, self._all.pop(fd).address, reason)
