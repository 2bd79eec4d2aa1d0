"""Whether and when a process that has ended is started again: a decision about exit codes and times, no process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from dptrain.errors import ConnectionLostError, LocalProtocolError, UsageError

MOST = 5  #: starts again ...
WITHIN = 60.0  #: ... in so many seconds, then never again
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
CONFIGURATION, TEMPORARY, BUG = UsageError.exit_code, ConnectionLostError.exit_code, LocalProtocolError.exit_code
TRACEBACK = 1  #: Python's exit code after an exception that nobody caught
ASKED = {0, 129, 130, 143}  #: it was told to stop, or got SIGHUP, SIGINT, SIGTERM and left in good order


@dataclass(slots=True)
class Restarts:
    """Of one process. An end it was asked for, or that would come again (78), is final; a signal, 75, a bug is not."""

    _times: deque[float] = field(default_factory=deque)

    def delay(self, code: int, now: float) -> float | None:
        """Seconds to wait before it is started again; None: never. `code` as Popen.returncode."""
        if code == CONFIGURATION or code in ASKED:
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


def exit_code(code: int) -> int:
    """What the run ends with where a worker that ended with `code` is the cause. `code` as Popen.returncode."""
    if code in (TRACEBACK, BUG):
        return BUG
    return CONFIGURATION if code == CONFIGURATION else TEMPORARY
