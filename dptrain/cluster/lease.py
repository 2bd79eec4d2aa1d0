"""How long an assignment may stay silent. No decision lives here, only the length."""

from __future__ import annotations

from collections import deque

SHORTEST = 5.0  #: seconds
LONGEST = 600.0  #: seconds; one absurd observation must not mean for ever
FACTOR = 10.0  #: times the median
_MOST_DOUBLINGS = 6  #: 64 x: an unmeasured first shard (a compiling kernel) of up to 5 minutes costs few reassignments


class Lease:
    """max(5 s, 10 x the median seconds a shard has taken), doubled with every further attempt at the same shards."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=101)  #: a shard, from assignment to answer, the latest ones

    def observe(self, seconds: float, shards: int) -> None:
        """An assignment of so many shards was answered after so many seconds."""
        self._seconds.append(seconds / shards)

    def length(self, shards: int, attempt: int) -> float:
        """Seconds an assignment of so many shards may stay silent."""
        median = sorted(self._seconds)[len(self._seconds) // 2] if self._seconds else 0.0
        once = max(SHORTEST, FACTOR * median * shards)
        return float(min(LONGEST, once * 2 ** min(attempt, _MOST_DOUBLINGS)))
