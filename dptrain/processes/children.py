"""Processes this one has started: watched, started again, none left over. What they do is not known here."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import IO

from dptrain.cluster.events import Child, Gone
from dptrain.errors import ExitCode, as_asked, run_code
from dptrain.processes.stopping import INCARNATION, LAUNCHER

MOST = 5  #: starts again ...
WITHIN = 60.0  #: ... in so many seconds, then never again
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0


@dataclass(slots=True)
class Restarts:
    """Of one process. An end it was asked for, or that would come again (78), is final; a signal, 75, a bug is not."""

    _times: deque[float] = field(default_factory=deque)

    def delay(self, code: int, now: float) -> float | None:
        """Seconds to wait before it is started again; None: never. `code` as Popen.returncode."""
        if code == ExitCode.CONFIGURATION or as_asked(code):
            return None
        while self._times and now - self._times[0] > WITHIN:
            self._times.popleft()
        if len(self._times) >= MOST:
            return None
        self._times.append(now)
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (len(self._times) - 1))


def describe(code: int) -> str:
    """A process's end, for people. `code` as Popen.returncode."""
    return f"exited with signal {-code}" if code < 0 else f"exited with code {code}"


WORDS = 10  #: lines of a log shown where the run cannot go on
HEED = 0.5  #: seconds in which workers end by themselves: the coordinator has told them to
GRACE = 3.0  #: seconds between SIGTERM and SIGKILL
#: One thread a process, from the first import on; an environment that says otherwise is overruled.
ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run."""

    name: str
    argv: Sequence[str]
    log: Path  #: standard output and error are appended
    worker: bool  #: says Hello; when the last one is gone for good, the run cannot go on


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    restarts: Restarts = field(default_factory=Restarts)
    process: subprocess.Popen[bytes] | None = None  #: None: between two lives, or given up
    pidfd: int = -1
    incarnation: str = ""
    start_at: float | None = None  #: of the next life; None: it runs, or is given up
    code: int = 0  #: of the last life
    said_from: int = 0  #: where in its log this life's words begin


class Children:
    """A `Crew` of processes. A context manager: leaving the block ends them all, whatever has happened; after a second
    Ctrl-C, at once.

    Each is in a process group of its own (Ctrl-C at the terminal goes to us alone) but in our session. It begins its
    work when a line comes on its standard input (`orphan.wait_for`): with `begin`.
    """

    def __init__(self, specs: Sequence[ChildSpec], clock: Callable[[], float] = time.monotonic) -> None:
        self._children = [_Child(spec) for spec in specs]
        self._clock = clock
        self._begun = False
        self._given_up: list[_Child] = []  #: workers that failed and are not started again, the first one first

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop(0.0 if kind is not None and issubclass(kind, KeyboardInterrupt) else GRACE)

    def start(self) -> None:
        """Starts all of them: they import what they need, and wait."""
        for child in self._children:
            self._start(child)

    def begin(self) -> None:
        """Lets them work, and those that are started from now on."""
        self._begun = True
        for child in self._children:
            _let(child)

    def _start(self, child: _Child) -> None:
        child.incarnation, child.start_at = secrets.token_hex(16), None
        flags = [LAUNCHER, str(os.getpid()), *((INCARNATION, child.incarnation) if child.spec.worker else ())]
        with child.spec.log.open("ab") as log:
            child.said_from = log.tell()
            child.process = subprocess.Popen(
                [*child.spec.argv, *flags],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ONE_THREAD},
                process_group=0,
            )
        child.pidfd = os.pidfd_open(child.process.pid)
        if self._begun:
            _let(child)

    @property
    def filenos(self) -> Sequence[int]:
        """A pidfd is readable as soon as its process has ended, a SIGKILL included."""
        return [child.pidfd for child in self._children if child.process is not None]

    def exits(self) -> list[Gone]:
        """Who has ended since the last call; starts again whose time has come."""
        ended = [child for child in self._children if child.process is not None and child.process.poll() is not None]
        exits = [self._buried(child) for child in ended]
        for child in self._children:
            if child.start_at is not None and self._clock() >= child.start_at:
                self._start(child)
        return exits

    def _buried(self, child: _Child) -> Gone:
        assert child.process is not None
        child.code = child.process.returncode
        _release(child)
        # Nobody tells an augmenter to stop while we live: it took our silence (Ctrl-Z) for our end.
        code = child.code if child.spec.worker else child.code or ExitCode.TEMPORARY
        delay = child.restarts.delay(code, self._clock())
        child.start_at = None if delay is None else self._clock() + delay
        if delay is None and child.spec.worker and not as_asked(child.code):
            self._given_up.append(child)
        incarnation = child.incarnation if child.spec.worker else ""
        return Gone(Child(child.spec.name, incarnation), self._fate(child), shards_suspect=child.code != -SIGKILL)

    def _fate(self, child: _Child) -> str:
        """An exit code is told with the last line it has written; a signal leaves no words about itself."""
        text = describe(child.code)
        if child.code and child.start_at is None:
            text += f" and is not started again; see {child.spec.log}"
        words = _last_words(child, 1) if child.code > 0 else []
        return f"{text}: {words[0]}" if words else text

    @property
    def failure(self) -> tuple[int, str] | None:
        """The first worker that was given up is the cause: 78 where it said so, 70 after a bug, otherwise 75."""
        workers = [child for child in self._children if child.spec.worker]
        if not workers or any(child.process is not None or child.start_at is not None for child in workers):
            return None
        first = self._given_up[0] if self._given_up else workers[-1]
        return run_code(
            first.code
        ), f"no worker is left: {first.spec.name} {describe(first.code)}; see {first.spec.log}"

    @property
    def last_words(self) -> list[str]:
        """The end of the log of the worker that is the cause of `failure`, each line with its name."""
        return [f"{child.spec.name} | {line}" for child in self._given_up[:1] for line in _last_words(child, WORDS)]

    def stop(self, grace: float = GRACE) -> None:
        """SIGTERM to all but workers that end by themselves, SIGKILL after `grace` seconds. Safe to call twice.

        A worker that is sent a signal while its last message is on the way answers a coordinator that has gone, and
        waits two seconds for nothing (one run of 60, measured).
        """
        for child in self._children:
            child.start_at = None
        alive = [(child, child.process) for child in self._children if child.process is not None]
        told = [process for child, process in alive if child.spec.worker and self._begun]
        left = [process for _, process in alive if process not in told]
        for process in left:
            process.terminate()
        late = _still_there(told, min(grace, HEED))
        for process in late:
            process.terminate()
        for process in _still_there(left + late, grace):
            process.kill()
        for child, process in alive:
            child.code = process.wait()
            _release(child)

    # --- for tests

    @property
    def incarnations(self) -> frozenset[str]:
        """Of the workers now alive, or whose end has not been told yet."""
        return frozenset(child.incarnation for child in self._children if child.spec.worker)

    @property
    def pids(self) -> dict[str, int]:
        """Name -> process id of those now alive."""
        return {child.spec.name: child.process.pid for child in self._children if child.process is not None}


def _last_words(child: _Child, most: int) -> list[str]:
    """The last lines of the log that this life has written."""
    try:
        with child.spec.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(child.said_from, size - 200 * most - 2000))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return ["".join(c if c.isprintable() else "?" for c in line) for line in text.splitlines() if line.strip()][-most:]


def _still_there(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> list[subprocess.Popen[bytes]]:
    """Who has not ended after so many seconds."""
    deadline, left = time.monotonic() + seconds, []
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            left.append(process)
    return left


def _let(child: _Child) -> None:
    if child.process is None or child.process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError):  # it has ended already
        child.process.stdin.write(b"\n")
        child.process.stdin.flush()


def _release(child: _Child) -> None:
    """Gives back what a process that has ended held here."""
    assert child.process is not None
    pipe: IO[bytes] | None = child.process.stdin
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    if child.pidfd >= 0:  # a signal may come between the start of a process and this (seen: one test run of ten)
        os.close(child.pidfd)
    child.process, child.pidfd = None, -1
