"""The same links over queues, for `--workers 0`: coordinator and workers are threads of one process.

Messages are handed over as they are, arrays included: nobody may write into an array that was sent.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from dptrain.cluster.events import Arrived, LinkLost, Peer, PeerGone, Received
from dptrain.transport.wakeup import Wakeup, wait
from dptrain.wire.codec import Limits
from dptrain.wire.messages import FromCoordinator, FromWorker


class InProcessHub:
    """A `CoordinatorLink`; `InProcessLink(hub)` is the other end, one a worker thread."""

    endpoint = "this process"
    traffic = (0, 0)  #: nothing leaves it

    def __init__(self) -> None:
        self._wakeup = Wakeup()
        self._inbox: deque[Received | PeerGone] = deque()
        self._lock = threading.Lock()
        self._connections: dict[Peer, InProcessLink] = {}
        self._dropped: set[Peer] = set()
        self._opened = 0
        self._closed = False
        self.woken = time.monotonic()

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Received | PeerGone]:
        """Everything that has come in."""
        if not self._inbox:
            wait((self._wakeup.fileno(), *watch), timeout)
        self.woken = time.monotonic()
        self._wakeup.clear()
        events: list[Received | PeerGone] = []
        while self._inbox:
            event = self._inbox.popleft()
            if event.peer not in self._dropped:
                events.append(event)
        return events

    def send(self, peer: Peer, message: FromCoordinator) -> PeerGone | None:
        """Into the worker's queue."""
        with self._lock:
            link = self._connections.get(peer)
        if link is None:
            return PeerGone(peer, "the connection is closed")
        link.put(Arrived(message))
        return None

    def drop(self, peer: Peer) -> None:
        """Ignores the peer from now on."""
        self._dropped.add(peer)

    def close(self, flush: float = 0.0) -> None:  # noqa: ARG002  # queues have nothing to flush
        """Tells every worker that is still there, and whoever comes later."""
        with self._lock:
            links, self._connections = list(self._connections.values()), {}
            self._closed = True
        for link in links:
            link.put(LinkLost("the coordinator has closed the connection"))
        self._wakeup.close()

    # --- for InProcessLink, from its thread

    def connect(self, link: InProcessLink) -> Peer | None:
        """A new connection's name; None where the coordinator has gone."""
        with self._lock:
            if self._closed:
                return None
            self._opened += 1
            peer = b"thread-%d" % self._opened
            self._connections[peer] = link
            return peer

    def put(self, event: Received | PeerGone) -> None:
        """Into the coordinator's queue, unless the connection is closed."""
        with self._lock:
            if event.peer not in self._connections:
                return
            if isinstance(event, PeerGone):
                del self._connections[event.peer]
            self._inbox.append(event)
        self._wakeup.set()


class InProcessLink:
    """A `WorkerLink` to a hub in this process."""

    elsewhere = False

    def __init__(self, hub: InProcessHub) -> None:
        self._hub, self.endpoint = hub, hub.endpoint
        self._wakeup = Wakeup()
        self._inbox: deque[Arrived | LinkLost] = deque()
        self._peer: Peer | None = None

    def open(self) -> None:
        """A new, unused connection."""
        self._inbox.clear()
        self._peer = self._hub.connect(self)
        if self._peer is None:
            self.put(LinkLost("the coordinator is gone"))

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Arrived | LinkLost]:
        """Everything that has come in."""
        if not self._inbox:
            wait((self._wakeup.fileno(), *watch), timeout)
        self._wakeup.clear()
        events: list[Arrived | LinkLost] = []
        while self._inbox:
            events.append(self._inbox.popleft())
        return events

    def put(self, event: Arrived | LinkLost) -> None:
        """For the hub, from its thread."""
        self._inbox.append(event)
        self._wakeup.set()

    def send(self, message: FromWorker) -> None:
        """Into the coordinator's queue."""
        if self._peer is not None:
            self._hub.put(Received(self._peer, message))

    def know(self, limits: Limits) -> None:
        """Nothing to check: what arrives was never bytes."""

    def shut(self, flush: float = 0.0) -> None:  # noqa: ARG002  # queues have nothing to flush
        """Ends the connection; the coordinator is told."""
        if self._peer is not None:
            self._hub.put(PeerGone(self._peer, "the worker has closed the connection"))
            self._peer = None

    def close(self, flush: float = 0.0) -> None:
        """As `shut`, for good."""
        self.shut(flush)
        self._wakeup.close()
