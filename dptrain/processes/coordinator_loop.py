"""Turns sockets, processes, signals and the clock into events for the coordinator, and carries out its actions."""

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
    Report,
    SaveCheckpoint,
    Send,
    StepDone,
    StopRequested,
    Tell,
    Tick,
)
from dptrain.net.links import CoordinatorLink
from dptrain.processes.stopping import StopSource
from dptrain.state import TrainingState

TICK = 0.25  #: seconds


class Recorder(Protocol):
    """Takes what the coordinator has to say, and its checkpoints: `dptrain.runs.recorder.Recorder`."""

    def tell(self, report: Report) -> None:
        """Records and shows a report."""
        ...

    def checkpoint(self, state: TrainingState, best: bool) -> None:  # noqa: FBT001  # the coordinator's action has it so
        """Writes the state as it is now."""
        ...


class Crew(Protocol):
    """The workers this process has started: processes (`children`) or threads (`threads`)."""

    @property
    def filenos(self) -> Sequence[int]:
        """Readable when somebody has ended."""
        ...

    def exits(self) -> list[Gone]:
        """Who has ended since the last call; whoever may be started again is, in time. Never blocks."""
        ...

    @property
    def failure(self) -> tuple[int, str] | None:
        """Exit code and reason, when nobody of the crew is left, nor will be again."""
        ...

    @property
    def last_words(self) -> list[str]:
        """What whoever is the cause of `failure` has written last."""
        ...


def run_coordinator(
    machine: Coordinator, link: CoordinatorLink, recorder: Recorder, stop: StopSource, crew: Crew | None = None
) -> Ended:
    """Until the machine has finished, and nobody is parting.

    Does not close anything; an exception leaves everything to the caller as well.
    """
    loop = _Loop(machine, link, recorder)
    next_tick = 0.0
    failed = False
    while True:
        finish = loop.work_off()
        if finish is not None:
            loop.part(stop)
            return finish
        watch = (*stop.filenos, *(crew.filenos if crew else ()))
        now = time.monotonic()
        next_tick = min(next_tick, machine.wake_at(now) or next_tick)
        loop.read(next_tick - now, watch)
        request = stop.take()
        if request is not None:
            recorder.tell(Notice("info", f"{request.reason}: stopping, with a checkpoint of what is applied"))
            loop.add([request])
        if crew is not None:
            loop.add(crew.exits())
            if crew.failure is not None and not failed and not loop.waiting:  # first what led to it is told
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
    """Events that wait, and what comes of them."""

    def __init__(self, machine: Coordinator, link: CoordinatorLink, recorder: Recorder) -> None:
        self._machine, self._link, self._recorder = machine, link, recorder
        self._events: deque[CoordinatorEvent] = deque()
        self._gone: list[Gone] = []  #: whom nothing can be sent to any more; what they have said comes first
        self._traffic = link.traffic  #: as far as it is reported

    @property
    def waiting(self) -> bool:
        """Whether there is anything to work off."""
        return bool(self._events or self._gone)

    def add(self, events: Sequence[CoordinatorEvent]) -> None:
        self._events.extend(events)

    def read(self, timeout: float, watch: Sequence[int] = ()) -> None:
        """Adds what has come in; waits up to `timeout` seconds for it."""
        gone, self._gone = self._gone, []
        self.add(self._link.poll(0.0 if gone else timeout, watch))
        self.add(gone)

    def part(self, stop: StopSource) -> None:
        """Waits until everybody has heard that the run is over, or somebody wants no waiting.

        libzmq's linger does not see to it: closing a connection on which something is unread resets it, and what is on
        its way to the peer is lost (seen: one run of the tests of 30, on a busy machine).
        """
        timeout = 0.0  # what has come in already is answered in any case
        while True:
            self.read(timeout, stop.filenos)
            self.add([Tick()])
            self.work_off()
            if stop.take() is not None or not self._machine.parting(time.monotonic()):
                return
            timeout = TICK

    def work_off(self) -> Ended | None:
        """Carries out what the waiting events lead to, in order; of one event, first what workers wait for."""
        while self._events:
            actions = self._machine.handle(self._events.popleft(), time.monotonic())
            for action in sorted(actions, key=lambda a: not isinstance(a, Send)):  # the state stays as it is
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
        """Where nobody reads the output (`dptrain train | head`), the run ends as programs do, but in good order."""
        try:
            self._recorder.tell(report)
        except BrokenPipeError:
            self._events.append(StopRequested("SIGPIPE"))

    def _new_traffic(self) -> tuple[int, int]:
        """Bytes sent and received since the last call."""
        (sent, received), self._traffic = self._traffic, self._link.traffic
        return self._traffic[0] - sent, self._traffic[1] - received
