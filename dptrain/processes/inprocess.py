"""The workers of `--workers 0`: threads of this process, and the queues that connect them with the coordinator."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import inf

from dptrain.cluster.codec import Limits
from dptrain.cluster.events import THE_COORDINATOR, Arrived, Child, Ended, Gone, Peer, Received
from dptrain.cluster.messages import FromCoordinator, FromWorker
from dptrain.cluster.worker import Worker
from dptrain.errors import DptrainError
from dptrain.net.wakeup import Wakeup, wait
from dptrain.processes.stopping import StopFlag
from dptrain.processes.worker_loop import Computer, run_worker


class InProcessHub:
    """A `CoordinatorLink` made of queues. The other end is an `InProcessLink(hub)` per worker thread."""

    endpoint = "this process"
    traffic = (0, 0)  #: bytes sent and received: none leave the process

    def __init__(self) -> None:
        self._wakeup = Wakeup()
        self._inbox: deque[tuple[Peer, Received | Gone]] = deque()
        self._lock = threading.Lock()
        self._connections: dict[Peer, InProcessLink] = {}
        self._ignored: set[Peer] = set()
        self._opened = 0
        self._closed = False
        self.woken = time.monotonic()

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Received | Gone]:
        """All messages that have come in, and the connections that have ended."""
        if not self._inbox:
            wait((self._wakeup.fileno(), *watch), timeout)
        self.woken = time.monotonic()
        self._wakeup.clear()
        events: list[Received | Gone] = []
        while self._inbox:
            peer, event = self._inbox.popleft()
            if peer not in self._ignored:
                events.append(event)
        return events

    def send(self, peer: Peer, message: FromCoordinator) -> Gone | None:
        """Puts the message itself into the worker's queue: no copy."""
        with self._lock:
            link = self._connections.get(peer)
        if link is None:
            return Gone(peer, "the connection is closed")
        link.put(Arrived(message))
        return None

    def ignore(self, peer: Peer) -> None:
        """Ignores the peer from now on."""
        self._ignored.add(peer)

    def close(self, flush: float = 0.0) -> None:  # queues have nothing to flush
        """Ends all connections; one that is opened later ends at once."""
        with self._lock:
            links, self._connections = list(self._connections.values()), {}
            self._closed = True
        for link in links:
            link.put(Gone(THE_COORDINATOR, "the coordinator has closed the connection"))
        self._wakeup.close()

    # --- for InProcessLink, from its thread

    def connect(self, link: InProcessLink) -> Peer | None:
        """The name of a new connection; None after `close`."""
        with self._lock:
            if self._closed:
                return None
            self._opened += 1
            peer = b"thread-%d" % self._opened
            self._connections[peer] = link
            return peer

    def put(self, peer: Peer, event: Received | Gone) -> None:
        """Adds to the coordinator's queue, unless the connection is closed."""
        with self._lock:
            if peer not in self._connections:
                return
            if isinstance(event, Gone):
                del self._connections[peer]
            self._inbox.append((peer, event))
        self._wakeup.set()


class InProcessLink:
    """A `WorkerLink` to a hub in this process."""

    elsewhere = False

    def __init__(self, hub: InProcessHub) -> None:
        self._hub, self.endpoint = hub, hub.endpoint
        self._wakeup = Wakeup()
        self._inbox: deque[Arrived | Gone] = deque()
        self._peer: Peer | None = None

    def open(self) -> None:
        """A new, unused connection."""
        self._inbox.clear()
        self._peer = self._hub.connect(self)
        if self._peer is None:
            self.put(Gone(THE_COORDINATOR, "the coordinator is gone"))

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Arrived | Gone]:
        """All messages that have come in, then the end of the connection."""
        if not self._inbox:
            wait((self._wakeup.fileno(), *watch), timeout)
        self._wakeup.clear()
        events: list[Arrived | Gone] = []
        while self._inbox:
            events.append(self._inbox.popleft())
        return events

    def put(self, event: Arrived | Gone) -> None:
        """Called by the hub, on the coordinator's thread."""
        self._inbox.append(event)
        self._wakeup.set()

    def send(self, message: FromWorker) -> None:
        """Adds to the coordinator's queue."""
        if self._peer is not None:
            self._hub.put(self._peer, Received(self._peer, message))

    def know(self, limits: Limits) -> None:
        """Does nothing: messages here were never bytes, so no size is to be checked."""

    def shut(self, flush: float = 0.0) -> None:  # queues have nothing to flush
        """Ends the connection and reports that to the coordinator."""
        if self._peer is not None:
            self._hub.put(self._peer, Gone(self._peer, "the worker has closed the connection"))
            self._peer = None

    def close(self, flush: float = 0.0) -> None:
        self.shut(flush)
        self._wakeup.close()


log = logging.getLogger("dptrain.worker")


@dataclass(frozen=True, slots=True)
class WorkerThread:
    """What one thread runs. A computer, and the network in it, belongs to one thread."""

    name: str
    incarnation: str
    machine: Worker
    computer: Computer


class WorkerThreads:
    """A `Crew` of threads. A context manager: leaving the block ends them all."""

    def __init__(self, hub: InProcessHub, threads: Sequence[WorkerThread]) -> None:
        self._hub = hub
        self._threads = threads
        self._stop = [StopFlag() for _ in threads]
        self._ended = Wakeup()
        self._executor = ThreadPoolExecutor(len(threads), thread_name_prefix="worker")
        self._futures: dict[str, Future[tuple[Ended, bool]]] = {}
        self._reported: set[str] = set()  #: names of the threads whose end `exits` has returned
        self._last: Ended | None = None  #: of the thread that ended last

    def __enter__(self) -> WorkerThreads:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts all threads."""
        for thread, flag in zip(self._threads, self._stop, strict=True):
            future = self._executor.submit(
                run_worker, thread.machine, InProcessLink(self._hub), thread.computer, flag, inf
            )
            future.add_done_callback(lambda _: self._ended.set())
            self._futures[thread.name] = future

    @property
    def filenos(self) -> Sequence[int]:
        """Readable when a thread has ended."""
        return (self._ended.fileno(),)

    def exits(self) -> list[Gone]:
        """The threads that have ended since the last call. Raises a DptrainError or MemoryError that ended one.

        Any other exception is a bug, in your own network for example: it is logged and ends only this worker, as it
        would end a worker process.
        """
        self._ended.clear()
        exits = []
        for thread in self._threads:
            if thread.name not in self._reported and self._futures[thread.name].done():
                self._reported.add(thread.name)
                self._last = _end_of(thread.name, self._futures[thread.name])
                exits.append(Gone(Child(thread.name, thread.incarnation), f"ended: {self._last.reason}"))
        return exits

    @property
    def failure(self) -> tuple[int, str] | None:
        """Exit code and reason, once all threads have ended."""
        if self._last is None or len(self._reported) < len(self._threads):
            return None
        return self._last.code, f"no worker is left: {self._last.reason}"

    @property
    def last_words(self) -> list[str]:
        """Empty: a thread has no log of its own."""
        return []

    def stop(self) -> None:
        """Ends all threads; each finishes the shard it is computing."""
        for flag in self._stop:
            flag.set("the run is over")
        self._executor.shutdown(wait=True)
        for flag in self._stop:
            flag.close()
        self._ended.close()


def _end_of(name: str, future: Future[tuple[Ended, bool]]) -> Ended:
    error = future.exception()
    if error is None or isinstance(error, DptrainError | MemoryError) or not isinstance(error, Exception):
        return future.result()[0]
    log.error("worker %s failed", name, exc_info=error)
    return Ended(DptrainError.exit_code, f"{type(error).__name__}: {' '.join(str(error).split())}")
