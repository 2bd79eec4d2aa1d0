"""When a worker last heard of the coordinator, and how patient it is. Decides times, does nothing."""

from __future__ import annotations

SILENCE = 15.0  #: seconds without a message after which a connection is given up; the coordinator pings every second
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  #: seconds before a new connection
GIVE_UP = 60.0  #: seconds without any message after which the worker exits
ASLEEP = 5.0  #: seconds without any event, of which ticks alone are four a second: this process was stopped (Ctrl-Z)


class Contact:
    """Back-off and patience of one worker."""

    def __init__(self, incarnation: str, give_up: float) -> None:
        self._incarnation = incarnation
        self._give_up = give_up
        self._failures = 0  #: connections given up since the last Welcome
        self._awake: float | None = None  #: the last event
        self._heard = 0.0  #: last message, or the first event of our life
        self._opened = 0.0  #: the connection

    def awake(self, now: float) -> None:
        """Called at every event: the first one starts the clock. Time we slept through is nobody's silence."""
        if self._awake is None:
            self._heard = now
        elif now - self._awake > ASLEEP:
            self._heard += now - self._awake
            self._opened += now - self._awake
        self._awake = now

    def opened(self, now: float) -> None:
        """A fresh connection is there."""
        self._opened = now

    def heard(self, now: float) -> None:
        """A message came."""
        self._heard = now

    def welcomed(self) -> None:
        """The coordinator knows us: the next failure is a first one."""
        self._failures = 0

    def silent(self, now: float) -> bool:
        """Whether the connection is to be given up."""
        return now - max(self._opened, self._heard) >= SILENCE

    def hopeless(self, now: float) -> bool:
        """Whether the worker is to exit."""
        return now - self._heard >= self._give_up

    def delay(self) -> float:
        """Seconds before the next connection: 0.1, doubling to 5, of which 50 to 100 % by jitter.

        The jitter is read off the incarnation, four hex digits a failure: workers that lost the same coordinator do not
        come back at the same instant, and the same worker behaves the same way in every replay.
        """
        base = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 16))
        at = 4 * (self._failures % 8)
        self._failures += 1
        return base * (0.5 + 0.5 * int(self._incarnation[at : at + 4], 16) / 0xFFFF)
