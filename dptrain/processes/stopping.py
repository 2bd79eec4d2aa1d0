"""Requests to stop: from signals, a launcher that has ended, another thread. The machines decide what follows.

Also what a process does before it can stop in good order: a child waits for its launcher, and data is read and kernels
are compiled on a thread that no signal interrupts.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Thread
from types import FrameType, TracebackType
from typing import Protocol, TypeVar

from dptrain.cluster.events import StopRequested
from dptrain.net.wakeup import Wakeup

LAUNCHER = "--launcher"  #: flag of every child: the launcher's process id
INCARNATION = "--incarnation"  #: flag of a worker: the 32 hex digits it signs with
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ECHO = (
    0.25  #: seconds; `timeout` signals the process and its group, a terminal and a launcher both: one request, not two
)

_PR_SET_PDEATHSIG = 1
_GONE = "dptrain: the launcher has gone"
_GLANCE = 0.1  #: seconds between looks at whether a signal came

T = TypeVar("T")


# --- a child and its launcher


def die_with(launcher: int) -> None:
    """From now on the kernel kills this process when the launcher ends. Exits if the launcher has ended already.

    The kernel watches the thread that has started this process, which is the one that trains. SIGINT is ignored from
    here on: after Ctrl-C the coordinator stops, and ends its workers itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != launcher:
        sys.exit(_GONE)


def wait_for(launcher: int) -> None:
    """Waits for a line on standard input, which the launcher writes when it is ready. Exits if the launcher has ended.

    Slow work that does not need the launcher, above all imports, belongs before this call.
    """
    if launcher and not sys.stdin.buffer.readline():
        sys.exit(_GONE)


# --- before the coordinator polls


class Interrupted(BaseException):
    """A signal came when there was nothing to finish first. Like KeyboardInterrupt, it is no Exception."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.exit_code = StopRequested(name).exit_code


class Preparation:
    """Reads data and compiles kernels on a thread. An exception that a signal raises must not unwind the compiler,
    which swallows some, or is aborted in LLVM's callbacks (seen: exit codes 1 and -6).
    """

    def __init__(self) -> None:
        self._over = Event()  # Thread.is_alive is False after a join that an exception left (CPython 3.11, gh-90882)
        self._over.set()

    def run(self, work: Callable[[], T]) -> T:
        """Returns or raises what `work` does. In the main thread, what a signal handler raises comes out of here."""
        future: Future[T] = Future()

        def body() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  # every error belongs to the caller
                future.set_exception(error)
            self._over.set()

        self._over.clear()
        Thread(target=body, name="preparation", daemon=True).start()
        while not self._over.wait(_GLANCE):  # a signal may hit the other thread: the handler runs when this one wakes
            pass
        return future.result()

    def leave(self, code: int) -> int:
        """Returns the exit code. While the work still goes on, it ends the process with that code instead."""
        if self._over.is_set():
            return code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# --- sources of requests


class StopAskedError(Exception):
    """Raised while a report is recorded: the run is to stop before its next step. Its text says why."""


class StopSource(Protocol):
    """One thread asks it after each poll: `StopSignals`, `StopFlag`."""

    @property
    def filenos(self) -> Sequence[int]:
        """Readable when there may be a request."""
        ...

    def take(self) -> StopRequested | None:
        """The request, once."""
        ...


class StopFlag:
    """A request from another thread. Also stands for `StopSignals` in a thread that receives no signals."""

    def __init__(self) -> None:
        self._wakeup = Wakeup()
        self._reason = ""

    def set(self, reason: str) -> None:
        """From any thread. The first reason counts."""
        self._reason = self._reason or reason
        self._wakeup.set()

    @property
    def filenos(self) -> Sequence[int]:
        """Readable from `set` until `take`."""
        return (self._wakeup.fileno(),)

    def take(self) -> StopRequested | None:
        """The request; None after the first time."""
        if not self._reason:
            return None
        self._wakeup.clear()
        reason, self._reason = self._reason, ""
        return StopRequested(reason)

    def prepared(self) -> None:
        """As of `StopSignals`; makes no difference here."""

    def close(self) -> None:
        """Closes the descriptor."""
        self._wakeup.close()

    def __enter__(self) -> StopFlag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StopSignals:
    """SIGINT, SIGTERM and SIGHUP while the block lasts. Main thread only. A second SIGINT raises KeyboardInterrupt,
    unless it comes within ECHO seconds.

    A signal that is ignored stays ignored: a launcher ignores SIGINT for its children, nohup ignores SIGHUP. Entering
    the block raises KeyboardInterrupt if Ctrl-C came earlier and something swallowed it.
    `launched`: standard input is a pipe from the launcher, and its end is a request to stop as well.
    `preparing`: until `prepared` a signal raises Interrupted, because no loop polls yet and compiling takes long.
    """

    def __init__(self, *, launched: bool = False, preparing: bool = False) -> None:
        self._launched = launched
        self._preparing = preparing
        self._signal = ""
        self._signalled = 0.0  #: monotonic seconds of the first one
        self._taken = False
        self._old: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        if getattr(signal.getsignal(signal.SIGINT), "pressed", False):  # of __main__.Interrupts
            raise KeyboardInterrupt
        # Python writes to the wake-up descriptor from C, whichever thread the signal hits: no poll sleeps through it.
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._old[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave
        signal.set_wakeup_fd(self._old_fd)
        self._reader.close()
        self._writer.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._preparing:
            self._signal = signal.Signals(number).name  # kept: what is interrupted may swallow the exception
            raise Interrupted(self._signal)
        if not self._signal:
            self._signal, self._signalled = signal.Signals(number).name, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() > self._signalled + ECHO:
            with suppress(OSError):  # not through sys.stderr: what is interrupted may be writing to it
                os.write(2, b"dptrain: SIGINT again: ending at once; steps after the last checkpoint are lost\n")
            raise KeyboardInterrupt

    def prepared(self) -> None:
        """From now on, signals are kept for `take`."""
        self._preparing = False

    @property
    def filenos(self) -> Sequence[int]:
        """Readable after a signal, or when the launcher has ended."""
        return (self._reader.fileno(), 0) if self._launched and not self._taken else (self._reader.fileno(),)

    def take(self) -> StopRequested | None:
        """The request, with the name of the first signal or that the launcher has gone; None after the first time."""
        self._drain()
        if self._taken:
            return None
        reason = self._signal or ("the launcher has gone" if self._launched and _ended(0) else "")
        self._taken = bool(reason)
        return StopRequested(reason) if reason else None

    def _drain(self) -> None:
        try:
            while self._reader.recv(64):
                pass
        except BlockingIOError:
            return


def _ended(fd: int) -> bool:
    """Whether the other end of a pipe is closed. After `wait_for` the launcher writes nothing."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0)) and os.read(fd, 4096) == b""
