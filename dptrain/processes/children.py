"""The worker and augmenter processes this process starts: started, watched, restarted, and none left behind."""

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

from dptrain.cluster.events import Child, Gone
from dptrain.errors import ExitCode, as_asked, run_code
from dptrain.processes.stopping import INCARNATION, LAUNCHER

MOST = 5  #: restarts of one process ...
WITHIN = 60.0  #: ... within this many seconds; then it is given up
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  #: seconds before a restart
LAST_LINES = 10  #: lines of a log that are shown when the run cannot go on
OWN_END = 0.5  #: seconds in which workers end by themselves: the coordinator has told them to stop
GRACE = 3.0  #: seconds between SIGTERM and SIGKILL
#: One thread per process, from the first import on. Overrides the environment.
ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(slots=True)
class Restarts:
    """Decides when one process is started again: not after a stop as asked, nor after 78, which would come again."""

    _times: deque[float] = field(default_factory=deque)

    def delay(self, code: int, now: float) -> float | None:
        """Seconds until the next start; None: never. `code`: as Popen.returncode."""
        if code == ExitCode.CONFIGURATION or as_asked(code):
            return None
        while self._times and now - self._times[0] > WITHIN:
            self._times.popleft()
        if len(self._times) >= MOST:
            return None
        self._times.append(now)
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (len(self._times) - 1))


def describe(code: int) -> str:
    """How a process ended, for log lines. `code`: as Popen.returncode."""
    return f"exited with signal {-code}" if code < 0 else f"exited with code {code}"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How one process is started."""

    name: str
    argv: Sequence[str]
    log: Path  #: its standard output and error are appended
    worker: bool  #: it says Hello; once no worker is left and none will be started again, the run cannot go on


@dataclass(slots=True)
class _Process:
    """One spec, and the process that runs for it at the moment."""

    spec: ChildSpec
    restarts: Restarts = field(default_factory=Restarts)
    process: subprocess.Popen[bytes] | None = None  #: None: it has ended
    pidfd: int = -1
    incarnation: str = ""
    start_at: float | None = None  #: when it is started again; None: it runs, or was given up
    code: int = 0  #: exit code of the last process
    log_from: int = 0  #: where the log of the current process begins in the file


class Children:
    """A `Crew` of processes. A context manager: leaving the block ends them all, at once after a second Ctrl-C.

    Each process is in its own process group (Ctrl-C at the terminal reaches only this one), but in our session. It
    imports what it needs, then waits for a line on its standard input (`stopping.wait_for`), which `begin` writes.
    """

    def __init__(self, specs: Sequence[ChildSpec], clock: Callable[[], float] = time.monotonic) -> None:
        self._processes = [_Process(spec) for spec in specs]
        self._clock = clock
        self._begun = False
        self._given_up: list[_Process] = []  #: workers that failed and are not started again, the first one first

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop(0.0 if kind is not None and issubclass(kind, KeyboardInterrupt) else GRACE)

    def start(self) -> None:
        """Starts all processes; they wait for `begin`."""
        for one in self._processes:
            self._start(one)

    def begin(self) -> None:
        """Lets them work, and every process that is started from now on."""
        self._begun = True
        for one in self._processes:
            _begin(one)

    def _start(self, one: _Process) -> None:
        one.incarnation, one.start_at = secrets.token_hex(16), None
        flags = [LAUNCHER, str(os.getpid()), *((INCARNATION, one.incarnation) if one.spec.worker else ())]
        with one.spec.log.open("ab") as log:
            one.log_from = log.tell()
            one.process = subprocess.Popen(
                [*one.spec.argv, *flags],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ONE_THREAD},
                process_group=0,
            )
        one.pidfd = os.pidfd_open(one.process.pid)
        if self._begun:
            _begin(one)

    @property
    def filenos(self) -> Sequence[int]:
        """A pidfd is readable as soon as its process has ended, also after a SIGKILL."""
        return [one.pidfd for one in self._processes if one.process is not None]

    def exits(self) -> list[Gone]:
        """The processes that have ended since the last call. Also starts again those whose delay is over."""
        ended = [one for one in self._processes if one.process is not None and one.process.poll() is not None]
        gone = [self._gone(one) for one in ended]
        for one in self._processes:
            if one.start_at is not None and self._clock() >= one.start_at:
                self._start(one)
        return gone

    def _gone(self, one: _Process) -> Gone:
        """Takes note of the end of a process, and decides whether it is started again."""
        assert one.process is not None
        one.code = one.process.returncode
        _release(one)
        # No augmenter is told to stop while this process lives: one that ends with 0 took a pause (Ctrl-Z) for our end.
        code = one.code if one.spec.worker else one.code or ExitCode.TEMPORARY
        delay = one.restarts.delay(code, self._clock())
        one.start_at = None if delay is None else self._clock() + delay
        if delay is None and one.spec.worker and not as_asked(one.code):
            self._given_up.append(one)
        child = Child(one.spec.name, one.incarnation if one.spec.worker else "")
        return Gone(child, self._reason(one), shards_suspect=one.code != -SIGKILL)

    def _reason(self, one: _Process) -> str:
        """The exit code with the last line of the log. A process that a signal killed has written nothing about it."""
        text = describe(one.code)
        if one.code and one.start_at is None:
            text += f" and is not started again; see {one.spec.log}"
        lines = _last_lines(one, 1) if one.code > 0 else []
        return f"{text}: {lines[0]}" if lines else text

    @property
    def failure(self) -> tuple[int, str] | None:
        """Exit code and reason of the run once no worker is left or will be: the first one given up is the cause."""
        workers = [one for one in self._processes if one.spec.worker]
        if not workers or any(one.process is not None or one.start_at is not None for one in workers):
            return None
        first = self._given_up[0] if self._given_up else workers[-1]
        reason = f"no worker is left: {first.spec.name} {describe(first.code)}; see {first.spec.log}"
        return run_code(first.code), reason

    @property
    def last_words(self) -> list[str]:
        """The last lines in the log of the worker that is the cause of `failure`, each after the worker's name."""
        return [f"{one.spec.name} | {line}" for one in self._given_up[:1] for line in _last_lines(one, LAST_LINES)]

    def stop(self, grace: float = GRACE) -> None:
        """Ends all processes: SIGTERM, and SIGKILL after `grace` seconds. Safe to call twice.

        Workers first get OWN_END seconds to end by themselves. A worker that gets a signal while its last message is on
        the way answers a coordinator that has gone, and waits two seconds for nothing (measured: one run of 60).
        """
        for one in self._processes:
            one.start_at = None
        running = [(one, one.process) for one in self._processes if one.process is not None]
        told = [process for one, process in running if one.spec.worker and self._begun]
        others = [process for _, process in running if process not in told]
        for process in others:
            process.terminate()
        late = _still_running(told, min(grace, OWN_END))
        for process in late:
            process.terminate()
        for process in _still_running(others + late, grace):
            process.kill()
        for one, process in running:
            one.code = process.wait()
            _release(one)


def _last_lines(one: _Process, most: int) -> list[str]:
    """The last lines that the current (or last) process of this spec wrote to its log; no control characters."""
    try:
        with one.spec.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(one.log_from, size - 200 * most - 2000))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return ["".join(c if c.isprintable() else "?" for c in line) for line in text.splitlines() if line.strip()][-most:]


def _still_running(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> list[subprocess.Popen[bytes]]:
    """The processes that have not ended after this many seconds."""
    deadline, left = time.monotonic() + seconds, []
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            left.append(process)
    return left


def _begin(one: _Process) -> None:
    if one.process is None or one.process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError):  # it has ended already
        one.process.stdin.write(b"\n")
        one.process.stdin.flush()


def _release(one: _Process) -> None:
    """Closes the pipe and the pidfd of a process that has ended."""
    assert one.process is not None
    if one.process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            one.process.stdin.close()
    if one.pidfd >= 0:  # a signal may come between the start of a process and pidfd_open (seen: one test run of ten)
        os.close(one.pidfd)
    one.process, one.pidfd = None, -1
