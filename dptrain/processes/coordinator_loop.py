"""The coordinator's event loop: makes events of sockets, processes, signals and the clock, and carries out actions."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import (
    CoordinatorEvent,
    Ended,
    Gone,
    Ignore,
    Notice,
    Peer,
    Received,
    Report,
    SaveCheckpoint,
    Send,
    StepDone,
    StopRequested,
    Tell,
    Tick,
)
from dptrain.cluster.messages import FromCoordinator
from dptrain.processes.stopping import StopAskedError, StopSource
from dptrain.state import TrainingState

TICK = 0.25  #: seconds


class CoordinatorLink(Protocol):
    """The coordinator's end of all its connections: `net.links`; to threads: `inprocess`. One thread uses it."""

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


class Recorder(Protocol):
    """Takes the reports and checkpoints of the coordinator: `runs.recorder`; in memory: `api.soundness`."""

    def tell(self, report: Report) -> None:
        """Records and shows a report. Raises StopAskedError if the run is to stop after it."""
        ...

    def checkpoint(self, state: TrainingState, best: bool) -> None:  # noqa: FBT001  # as in the action SaveCheckpoint
        """Writes the state as it is now."""
        ...


class Crew(Protocol):
    """The workers this process has started: processes (`children`) or threads (`inprocess`)."""

    @property
    def filenos(self) -> Sequence[int]:
        """Readable when a worker has ended."""
        ...

    def exits(self) -> list[Gone]:
        """The workers that have ended since the last call. Also restarts workers when that is due. Never blocks."""
        ...

    @property
    def failure(self) -> tuple[int, str] | None:
        """Exit code and reason, once no worker is left and none will be started again."""
        ...

    @property
    def last_words(self) -> list[str]:
        """The last log lines of the worker that is the cause of `failure`."""
        ...


def run_coordinator(
    machine: Coordinator, link: CoordinatorLink, recorder: Recorder, stop: StopSource, crew: Crew | None = None
) -> Ended:
    """Runs the machine until it has ended and every member has heard of it, or has had its time to.

    Closes nothing; after an exception the caller closes everything as well.
    """
    loop = _Loop(machine, link, recorder)
    next_tick = 0.0
    failed = False
    while True:
        ended = loop.work_off()
        if ended is not None:
            loop.part(stop)
            return ended
        watch = (*stop.filenos, *(crew.filenos if crew else ()))
        now = time.monotonic()
        next_tick = min(next_tick, machine.wake_at(now) or next_tick)
        loop.read(next_tick - now, watch)
        request = stop.take()
        if request is not None:
            recorder.tell(Notice("info", f"{request.reason}: stopping; a checkpoint of the applied steps is written"))
            loop.add([request])
        if crew is not None:
            loop.add(crew.exits())
            if crew.failure is not None and not failed and not loop.waiting:  # its causes are reported before it
                failed = True
                code, reason = crew.failure
                recorder.tell(Notice("error", reason, final=True))
                for line in crew.last_words:
                    recorder.tell(Notice("info", line))
                loop.add([StopRequested(reason, code)])
        if time.monotonic() >= next_tick:
            next_tick = time.monotonic() + TICK
            loop.add([Tick()])


class _Loop:
    """The queue of events, and the actions they lead to."""

    def __init__(self, machine: Coordinator, link: CoordinatorLink, recorder: Recorder) -> None:
        self._machine, self._link, self._recorder = machine, link, recorder
        self._events: deque[CoordinatorEvent] = deque()
        self._gone: list[Gone] = []  #: peers a send has failed to; what they sent before comes first
        self._traffic = link.traffic  #: as far as it is reported

    @property
    def waiting(self) -> bool:
        """Whether events wait to be handled."""
        return bool(self._events or self._gone)

    def add(self, events: Sequence[CoordinatorEvent]) -> None:
        self._events.extend(events)

    def read(self, timeout: float, watch: Sequence[int] = ()) -> None:
        """Adds what the link has received; waits up to `timeout` seconds for it."""
        gone, self._gone = self._gone, []
        self.add(self._link.poll(0.0 if gone else timeout, watch))
        self.add(gone)

    def part(self, stop: StopSource) -> None:
        """Waits until every member has heard that the run is over, or until a second request to stop.

        libzmq's linger does not ensure it: closing a connection on which something is unread resets it, and what is on
        its way to the peer is lost (seen: one run of the tests of 30, on a busy machine).
        """
        timeout = 0.0  # what has already come in is answered in any case
        while True:
            self.read(timeout, stop.filenos)
            self.add([Tick()])
            self.work_off()
            if stop.take() is not None or not self._machine.parting(time.monotonic()):
                return
            timeout = TICK

    def work_off(self) -> Ended | None:
        """Handles the waiting events in order. Of one event's actions, the messages workers wait for go first."""
        while self._events:
            actions = self._machine.handle(self._events.popleft(), time.monotonic())
            for action in sorted(actions, key=lambda a: not isinstance(a, Send)):
                match action:
                    case Send(peer, message):
                        gone = self._link.send(peer, message)
                        if gone is not None:
                            self._gone.append(gone)
                    case Ignore(peer, _):
                        self._link.ignore(peer)
                    case Tell(StepDone() as report):
                        share = time.monotonic() - self._link.woken
                        self._tell(replace(report, traffic=self._new_traffic(), coordinator_seconds=share))
                    case Tell(report):
                        self._tell(report)
                    case SaveCheckpoint(best):
                        self._recorder.checkpoint(self._machine.state, best)
                    case Ended():
                        return action
        return None

    def _tell(self, report: Report) -> None:
        """Once the reader of the output has gone (`dptrain train | head`), the run stops in good order."""
        try:
            self._recorder.tell(report)
        except BrokenPipeError:
            self._events.append(StopRequested("SIGPIPE"))
        except StopAskedError as asked:
            self._recorder.tell(Notice("info", f"{asked}: the training ends; a checkpoint is written"))
            self._recorder.tell(Notice("info", f"{asked}: the training ends; a checkpoint is written"))
            self._events.appendleft(StopRequested(str(asked)))  # before results of the next step, which may be here

    def _new_traffic(self) -> tuple[int, int]:
        """Bytes sent and received since the last call."""
        (sent, received), self._traffic = self._traffic, self._link.traffic
        return self._traffic[0] - sent, self._traffic[1] - received
