"""Turns sockets, processes, signals and the clock into events for the coordinator, and carries out its actions."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from signal import SIGKILL
from typing import NamedTuple, Protocol

from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import (
    CoordinatorEvent,
    Drop,
    Finish,
    Peer,
    PeerGone,
    Received,
    SaveCheckpoint,
    Send,
    StopRequested,
    Tell,
    Tick,
)
from dptrain.cluster.reports import Notice, Report, StepDone
from dptrain.cluster.state import TrainingState
from dptrain.transport.links import CoordinatorLink
from dptrain.transport.stopping import StopSource
from dptrain.wire.messages import Admitted, Hello

TICK = 0.25  #: seconds


class Recorder(Protocol):
    """Takes what the coordinator has to say, and its checkpoints: `dptrain.run.recorder.Recorder`."""

    def tell(self, report: Report) -> None:
        """Records and shows a report."""
        ...

    def checkpoint(self, state: TrainingState, best: bool) -> None:  # noqa: FBT001  # the coordinator's action has it so
        """Writes the state as it is now."""
        ...


class CrewExit(NamedTuple):
    """A worker or an augmenter of our own has ended."""

    name: str
    incarnation: str
    reason: str  #: "exited with signal 9"
    worker: bool = True  #: or an augmenter, whose work the workers do until it is back


class Crew(Protocol):
    """The workers this process has started: processes (`children`) or threads (`threads`)."""

    @property
    def filenos(self) -> Sequence[int]:
        """Readable when somebody has ended."""
        ...

    @property
    def incarnations(self) -> frozenset[str]:
        """What its workers sign with."""
        ...

    def exits(self) -> list[CrewExit]:
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
) -> Finish:
    """Until the machine finishes. Does not close anything; an exception leaves everything to the caller as well."""
    loop = _Loop(machine, link, recorder, crew)
    next_tick = 0.0
    failed = False
    while True:
        finish = loop.work_off()
        if finish is not None:
            return _with_failure(finish, crew)
        watch = (*stop.filenos, *(crew.filenos if crew else ()))
        now = time.monotonic()
        next_tick = min(next_tick, machine.wake_at(now) or next_tick)
        loop.add(link.poll(next_tick - now, watch))
        request = stop.take()
        if request is not None:
            recorder.tell(Notice("info", f"{request.reason}: stopping, with a checkpoint of what is applied"))
            loop.add([request])
        if crew is not None:
            loop.add(loop.gone(crew.exits()))
            if crew.failure is not None and not failed:
                failed = True
                recorder.tell(Notice("error", crew.failure[1], final=True))
                for line in crew.last_words:
                    recorder.tell(Notice("info", line))
                loop.add([StopRequested(crew.failure[1])])
        if time.monotonic() >= next_tick:
            next_tick = time.monotonic() + TICK
            loop.add([Tick()])


def _with_failure(finish: Finish, crew: Crew | None) -> Finish:
    """A run that stopped because its workers failed has not succeeded."""
    if crew is not None and crew.failure is not None and finish.reason == crew.failure[1]:
        return Finish(*crew.failure)
    return finish


class _Loop:
    """Events that wait, and who is who among the peers."""

    def __init__(self, machine: Coordinator, link: CoordinatorLink, recorder: Recorder, crew: Crew | None) -> None:
        self._machine, self._link, self._recorder, self._crew = machine, link, recorder, crew
        self._events: deque[CoordinatorEvent] = deque()
        self._peers: dict[str, Peer] = {}  #: incarnation of a worker of our own -> its newest connection
        self._traffic = link.traffic  #: as far as it is reported
        self._admitted: set[Peer] = set()  #: the machine tells when one of these goes

    def add(self, events: Sequence[CoordinatorEvent]) -> None:
        for event in events:
            if isinstance(event, Received) and isinstance(event.message, Hello) and self._crew is not None:
                incarnation = event.message.incarnation
                if incarnation in self._crew.incarnations:
                    self._peers[incarnation] = event.peer
        self._events.extend(events)

    def gone(self, exits: Sequence[CrewExit]) -> list[CoordinatorEvent]:
        """Who has ended is gone, if it has ever said Hello. The machine is silent about who was never admitted."""
        events: list[CoordinatorEvent] = []
        for left in exits:
            peer = self._peers.pop(left.incarnation, None)
            if peer is None or peer not in self._admitted:
                who = f"worker {left.name}, not yet admitted," if left.worker else f"augmenter {left.name}"
                self._tell(Notice("warning", f"{who} {left.reason}"))
            if peer is not None:
                self._admitted.discard(peer)
                events.append(PeerGone(peer, left.reason, killed=f"with signal {SIGKILL:d}" in left.reason))
        return events

    def work_off(self) -> Finish | None:
        """Carries out what the waiting events lead to, in order; of one event, first what workers wait for."""
        while self._events:
            actions = self._machine.handle(self._events.popleft(), time.monotonic())
            for action in sorted(actions, key=lambda a: not isinstance(a, Send)):  # the state stays as it is
                match action:
                    case Send(peer, message):
                        if isinstance(message, Admitted):
                            self._admitted.add(peer)
                        gone = self._link.send(peer, message)
                        if gone is not None:
                            self._events.append(gone)
                    case Drop(peer, _):
                        self._link.drop(peer)
                    case Tell(StepDone() as report):
                        share = time.monotonic() - self._link.woken
                        self._tell(replace(report, traffic=self._new_traffic(), coordinator_seconds=share))
                    case Tell(report):
                        self._tell(report)
                    case SaveCheckpoint(best):
                        self._recorder.checkpoint(self._machine.state, best)
                    case Finish():
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
