"""The workers of `--workers 0`: threads of this process over an in-process link."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import inf

from dptrain.cluster.events import CrewExit
from dptrain.cluster.worker import Worker
from dptrain.errors import DptrainError
from dptrain.transport.compute_thread import Computer
from dptrain.transport.inprocess import InProcessHub, InProcessLink
from dptrain.transport.stopping import StopFlag
from dptrain.transport.wakeup import Wakeup
from dptrain.transport.worker_loop import Ended, run_worker

log = logging.getLogger("dptrain.worker")


@dataclass(frozen=True, slots=True)
class Hand:
    """One worker of the crew. A computer, and the network in it, belongs to one thread."""

    name: str
    incarnation: str
    machine: Worker
    computer: Computer


class WorkerThreads:
    """A `Crew` of threads. A context manager: leaving the block ends them all."""

    def __init__(self, hub: InProcessHub, hands: Sequence[Hand]) -> None:
        self._hub = hub
        self._hands = hands
        self._stop = [StopFlag() for _ in hands]
        self._ended = Wakeup()
        self._executor = ThreadPoolExecutor(len(hands), thread_name_prefix="worker")
        self._lives: dict[str, Future[Ended]] = {}
        self._told: set[str] = set()
        self._last: Ended | None = None

    def __enter__(self) -> WorkerThreads:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts all of them."""
        for hand, flag in zip(self._hands, self._stop, strict=True):
            life = self._executor.submit(run_worker, hand.machine, InProcessLink(self._hub), hand.computer, flag, inf)
            life.add_done_callback(lambda _: self._ended.set())
            self._lives[hand.name] = life

    @property
    def filenos(self) -> Sequence[int]:
        """Readable when somebody has ended."""
        return (self._ended.fileno(),)

    def exits(self) -> list[CrewExit]:
        """Who has ended since the last call. Raises what a worker has raised where its words are meant for people.

        A bug, in a network of one's own for example, is logged, and ends this worker as it ends a process.
        """
        self._ended.clear()
        exits = []
        for hand in self._hands:
            if hand.name not in self._told and self._lives[hand.name].done():
                self._told.add(hand.name)
                self._last = _end_of(hand.name, self._lives[hand.name])
                exits.append(CrewExit(hand.name, hand.incarnation, f"ended: {self._last.reason}"))
        return exits

    @property
    def failure(self) -> tuple[int, str] | None:
        """When all have ended."""
        if self._last is None or len(self._told) < len(self._hands):
            return None
        return self._last.code, f"no worker is left: {self._last.reason}"

    @property
    def last_words(self) -> list[str]:
        """None: a thread writes no log of its own."""
        return []

    def stop(self) -> None:
        """Lets each finish the shard it is computing."""
        for flag in self._stop:
            flag.set("the run is over")
        self._executor.shutdown(wait=True)
        for flag in self._stop:
            flag.close()
        self._ended.close()


def _end_of(name: str, life: Future[Ended]) -> Ended:
    error = life.exception()
    if error is None or isinstance(error, DptrainError | MemoryError) or not isinstance(error, Exception):
        return life.result()
    log.error("worker %s has failed", name, exc_info=error)
    return Ended(DptrainError.exit_code, f"{type(error).__name__}: {' '.join(str(error).split())}", idle=True)
