"""How the two loops see a connection, whatever carries it: sockets (`router`, `dealer`) or queues (`inprocess`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dptrain.cluster.codec import Limits
from dptrain.cluster.events import Arrived, Gone, Peer, Received
from dptrain.cluster.messages import FromCoordinator, FromWorker


class CoordinatorLink(Protocol):
    """The coordinator's end of all connections. One thread uses it."""

    @property
    def endpoint(self) -> str:
        """Where workers connect to."""
        ...

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes of messages sent and received so far; without what the transport wraps them in."""
        ...

    @property
    def woken(self) -> float:
        """When the last `poll` stopped waiting and began to read: seconds of time.monotonic()."""
        ...

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Received | Gone]:
        """What came in; waits up to `timeout` seconds where there is nothing yet and no fd of `watch` is readable."""
        ...

    def send(self, peer: Peer, message: FromCoordinator) -> Gone | None:
        """Never blocks. The answer says that the peer is gone. Arrays must not change before they are sent."""
        ...

    def ignore(self, peer: Peer) -> None:
        """What still arrives from this peer is ignored."""
        ...

    def close(self, flush: float = 0.0) -> None:
        """Ends all connections, after at most `flush` seconds for what is not sent yet."""
        ...


class WorkerLink(Protocol):
    """The worker's end of its one connection. One thread uses it."""

    @property
    def endpoint(self) -> str:
        """Where it connects to."""
        ...

    @property
    def elsewhere(self) -> bool:
        """The coordinator is another process, which may be lost; in our own it is gone only when the run is over."""
        ...

    def open(self) -> None:
        """A new, unused connection."""
        ...

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Arrived | Gone]:
        """What came in; waits up to `timeout` seconds where there is nothing yet and no fd of `watch` is readable."""
        ...

    def send(self, message: FromWorker) -> None:
        """Never blocks; where it is not possible, the next `poll` says Gone."""
        ...

    def know(self, limits: Limits) -> None:
        """The network is known: arrays of these sizes are welcome."""
        ...

    def shut(self, flush: float = 0.0) -> None:
        """Ends the connection, after at most `flush` seconds for what is not sent yet; `open` may follow."""
        ...

    def close(self, flush: float = 0.0) -> None:
        """As `shut`, for good."""
        ...
