"""A connection as the two loops see it, over sockets (`router`, `dealer`) or queues (`processes/inprocess`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dptrain.cluster.codec import Limits
from dptrain.cluster.events import Arrived, Gone, Peer, Received
from dptrain.cluster.messages import FromCoordinator, FromWorker


class CoordinatorLink(Protocol):
    """The coordinator's end of all its connections. One thread uses it."""

    @property
    def endpoint(self) -> str:
        """The address that workers connect to."""
        ...

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes of messages sent and received so far, without the envelope of ZeroMQ."""
        ...

    @property
    def woken(self) -> float:
        """When the last `poll` stopped waiting and began to read: time.monotonic() seconds."""
        ...

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Received | Gone]:
        """What came in. Waits up to `timeout` seconds for it, or until a descriptor of `watch` is readable."""
        ...

    def send(self, peer: Peer, message: FromCoordinator) -> Gone | None:
        """Never blocks. Returns Gone if the peer is gone. Arrays must not change before they are sent."""
        ...

    def ignore(self, peer: Peer) -> None:
        """From now on ignores what arrives from this peer."""
        ...

    def close(self, flush: float = 0.0) -> None:
        """Ends all connections, after at most `flush` seconds for messages that are not sent yet."""
        ...


class WorkerLink(Protocol):
    """The worker's end of its one connection. One thread uses it."""

    @property
    def endpoint(self) -> str:
        """The address it connects to."""
        ...

    @property
    def elsewhere(self) -> bool:
        """Whether the coordinator is another process, which may be lost. In this process it ends only with the run."""
        ...

    def open(self) -> None:
        """A new, unused connection."""
        ...

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Arrived | Gone]:
        """What came in. Waits up to `timeout` seconds for it, or until a descriptor of `watch` is readable."""
        ...

    def send(self, message: FromWorker) -> None:
        """Never blocks. If it fails, the next `poll` returns Gone."""
        ...

    def know(self, limits: Limits) -> None:
        """The network is known: arrays up to these sizes are accepted from now on."""
        ...

    def shut(self, flush: float = 0.0) -> None:
        """Ends the connection, after at most `flush` seconds for messages that are not sent yet. `open` may follow."""
        ...

    def close(self, flush: float = 0.0) -> None:
        """Like `shut`, but `open` may not follow."""
        ...
