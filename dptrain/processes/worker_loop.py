"""What a worker process does around its machine: one thread for the connection, one thread for the kernels.

The I/O thread turns messages, results, signals and the clock into events for `dptrain.cluster.worker.Worker`, and
carries out its actions in order. The compute thread works off a queue of tasks; kernels release the GIL, so the I/O
thread stays responsive while they run.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import TIMEOUT_MAX
from typing import Protocol, TypeAlias

from dptrain.cluster.codec import Limits
from dptrain.cluster.events import (
    Arrived,
    CancelTasks,
    Compute,
    Computed,
    Connected,
    Ended,
    Failure,
    Gone,
    GradientTask,
    Prepared,
    Reconnect,
    Reply,
    Task,
    Tick,
    WorkerEvent,
)
from dptrain.cluster.messages import FromWorker
from dptrain.cluster.worker import Worker
from dptrain.errors import ConnectionLostError
from dptrain.model import ShardResult, ShardScore
from dptrain.net.sockets import FLUSH
from dptrain.net.wakeup import Wakeup
from dptrain.processes.stopping import StopSource

TICK = 0.25  #: seconds
HINT = 5.0  #: seconds without the very first answer after which a hint is logged
log = logging.getLogger("dptrain.worker")

Result: TypeAlias = ShardResult | Prepared | ShardScore | Failure


class WorkerLink(Protocol):
    """The worker's end of its one connection: `net.links`; of a thread: `inprocess`. One thread uses it."""

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


class Computer(Protocol):
    """Carries out tasks; `dptrain.workers.compute` has the real one."""

    def run(self, task: Task) -> Result:
        """Blocks until it is done; called in one thread. What it raises is a bug and ends the worker."""
        ...

    def prefetch(self, task: GradientTask) -> None:
        """The shard will be computed soon. Never blocks; called in the I/O thread."""
        ...


class ComputeThread:
    """A queue of tasks and the thread that works it off. All methods are called in the I/O thread."""

    def __init__(self, computer: Computer) -> None:
        self._computer = computer
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._wakeup = Wakeup()
        self._futures: deque[Future[Computed]] = deque()

    def fileno(self) -> int:
        """Readable when a result may be there."""
        return self._wakeup.fileno()

    def submit(self, task: Task) -> None:
        """Appends a task to the queue."""
        if isinstance(task, GradientTask):
            self._computer.prefetch(task)
        future = self._executor.submit(self._run, task)
        future.add_done_callback(lambda _: self._wakeup.set())
        self._futures.append(future)

    def _run(self, task: Task) -> Computed:
        start = time.monotonic()
        result = self._computer.run(task)
        return Computed(task, result, time.monotonic() - start)

    def cancel(self) -> None:
        """Takes back the tasks that have not begun."""
        self._futures = deque(future for future in self._futures if not future.cancel())

    def take(self) -> list[Computed]:
        """Returns the finished tasks, in order. Raises what the computer has raised."""
        self._wakeup.clear()
        done: list[Computed] = []
        while self._futures and self._futures[0].done():
            done.append(self._futures.popleft().result())
        return done

    def close(self, patience: float) -> bool:
        """Waits at most `patience` seconds for the running task; whether the thread has ended."""
        self.cancel()
        self._executor.shutdown(wait=False)
        ended = not wait(self._futures, min(patience, TIMEOUT_MAX)).not_done
        self._wakeup.close()
        return ended


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

    def _log_loss(self, reason: str) -> None:
        """Logs the reason once: the next attempts fail the same way."""
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
        """Handles the waiting events and carries out the actions, in order."""
        while self._events:
            event = self._events.popleft()
            if isinstance(event, Arrived):
                self._hint_at = None
            # After Stop or Reject the machine has ended: a closed connection is not logged then.
            if isinstance(event, Gone) and self._link.elsewhere:
                self._log_loss(event.reason)
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
        """The end of a worker that gives up, with the reason why it could not connect."""
        if end.code != ConnectionLostError.exit_code or not self._fault:
            return end
        return Ended(end.code, f"{end.reason} (last: {self._fault})")
