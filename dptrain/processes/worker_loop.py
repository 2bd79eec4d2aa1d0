"""Turns the link, the compute thread, signals and the clock into events for a worker, and carries out its actions."""

from __future__ import annotations

import logging
import time
from collections import deque

from dptrain.cluster.codec import Limits
from dptrain.cluster.events import (
    Arrived,
    CancelTasks,
    Compute,
    Computed,
    Connected,
    Ended,
    Gone,
    Prepared,
    Reconnect,
    Reply,
    Tick,
    WorkerEvent,
)
from dptrain.cluster.worker import Worker
from dptrain.errors import ConnectionLostError
from dptrain.net.links import WorkerLink
from dptrain.net.sockets import FLUSH
from dptrain.processes.compute_thread import Computer, ComputeThread
from dptrain.processes.stopping import StopSource

TICK = 0.25  #: seconds
HINT = 5.0  #: seconds without the very first answer after which it is said that there is none
log = logging.getLogger("dptrain.worker")


def run_worker(
    machine: Worker, link: WorkerLink, computer: Computer, stop: StopSource, patience: float
) -> tuple[Ended, bool]:
    """Runs the machine until it has ended, then waits up to `patience` seconds for the task that is being computed.

    Also returns whether the compute thread has ended; if not, only the end of the process ends it. Closes the link.
    Raises what the computer raises.
    """
    compute = ComputeThread(computer)
    loop = _Loop(machine, link, compute)
    try:
        end = loop.run(stop)
    except BaseException:
        link.close()
        compute.close(patience)
        raise
    link.close(FLUSH)
    return end, compute.close(patience)


class _Loop:
    def __init__(self, machine: Worker, link: WorkerLink, compute: ComputeThread) -> None:
        self._machine, self._link, self._compute = machine, link, compute
        self._events: deque[WorkerEvent] = deque()
        self._fault = ""  #: why the connection was lost last time
        self._reopen_at: float | None = time.monotonic()  #: None while the link is open
        self._hint_at: float | None = self._reopen_at + HINT  #: None where it is said, or not needed

    def run(self, stop: StopSource) -> Ended:
        next_tick = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + TICK
                self._events.append(Tick())
                self._hint(now)
            if self._reopen_at is not None and now >= self._reopen_at:
                self._reopen_at = None
                self._link.open()
                self._events.append(Connected())
            end = self._work_off()
            if end is not None:
                return end
            until = next_tick if self._reopen_at is None else min(next_tick, self._reopen_at)
            watch = (self._compute.fileno(), *stop.filenos)
            self._events.extend(self._link.poll(until - time.monotonic(), watch))
            self._events.extend(self._results())
            request = stop.take()
            if request is not None:
                self._events.append(request)

    def _hint(self, now: float) -> None:
        if self._hint_at is not None and now >= self._hint_at:
            self._hint_at = None
            where = self._link.endpoint
            log.warning("no answer yet; still trying (dptrain doctor --connect %s says why)", where)

    def _tell(self, reason: str) -> None:
        """Once: the next attempts fail the same way."""
        if reason != self._fault:
            log.warning("no connection to the coordinator: %s; trying again", reason)
        self._fault = reason

    def _results(self) -> list[Computed]:
        done = self._compute.take()
        for item in done:
            if isinstance(item.result, Prepared):
                self._link.know(Limits(item.result.params.size, item.result.buffers.size, 0))
        return done

    def _work_off(self) -> Ended | None:
        """Carries out what the waiting events lead to, in order."""
        while self._events:
            event = self._events.popleft()
            if isinstance(event, Arrived):
                self._hint_at = None
            # Not where the coordinator has said goodbye before: the machine had ended then.
            if isinstance(event, Gone) and self._link.elsewhere:
                self._tell(event.reason)
            for action in self._machine.handle(event, time.monotonic()):
                match action:
                    case Reply(message):
                        self._link.send(message)
                    case Compute(task):
                        self._compute.submit(task)
                    case CancelTasks():
                        self._compute.cancel()
                    case Reconnect(delay):
                        self._link.shut()
                        self._reopen_at = time.monotonic() + delay
                    case Ended():
                        return self._with_fault(action)
        return None

    def _with_fault(self, end: Ended) -> Ended:
        """A worker that gives up says what kept it away."""
        if end.code != ConnectionLostError.exit_code or not self._fault:
            return end
        return Ended(end.code, f"{end.reason} (last: {self._fault})")
