"""The thread a worker computes in: tasks in order, results through a descriptor the I/O thread polls."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import TIMEOUT_MAX
from typing import Protocol, TypeAlias

from dptrain.cluster.events import Computed, Failure, GradientTask, Prepared, Task
from dptrain.model import ShardResult, ShardScore
from dptrain.net.wakeup import Wakeup

Result: TypeAlias = ShardResult | Prepared | ShardScore | Failure


class Computer(Protocol):
    """Does the work: `dptrain.workers.compute`."""

    def run(self, task: Task) -> Result:
        """Blocks until it is done; called in one thread. What it raises is a bug and ends the worker."""
        ...

    def prefetch(self, task: GradientTask) -> None:
        """The shard will be computed soon. Never blocks; called in the I/O thread."""
        ...


class ComputeThread:
    """Everything here is called from the I/O thread. Kernels release the GIL, so that thread stays responsive."""

    def __init__(self, computer: Computer) -> None:
        self._computer = computer
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._wakeup = Wakeup()
        self._futures: deque[Future[Computed]] = deque()

    def fileno(self) -> int:
        """Readable when a result may be there."""
        return self._wakeup.fileno()

    def submit(self, task: Task) -> None:
        """To the end of the queue."""
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
        """Finished tasks, in order. Raises what the computer has raised."""
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
