"""How fast each worker is, as seen from here. Decides who is worth asking and who is late; assigns nothing.

All of it is about speed only: the bits do not depend on who computes what.
"""

from __future__ import annotations

from collections.abc import Iterable

LATE = 1.5  #: times the usual seconds a shard: then an idle worker computes it too
WORTH = 1.5  #: times the best worker's finish: who would need longer is not asked, and can be relieved by who is idle
_NEWEST = 0.5  #: weight of the newest observation
_FORGET = 0.98  #: a round. Who is slow is not asked, so not seen: after some 20 rounds (of 1.5 x) it is tried again


class Pace:
    """Seconds a shard, by incarnation."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def observe(self, holder: str, seconds: float) -> None:
        """The worker took so long for one shard."""
        if seconds <= 0.0:
            return
        old = self._seconds.get(holder, seconds)
        self._seconds[holder] = (1 - _NEWEST) * old + _NEWEST * seconds

    def at_least(self, holder: str, seconds: float) -> None:
        """The worker has been at one shard for so long, and it is not done."""
        if seconds > 0.0:
            self._seconds[holder] = max(seconds, self._seconds.get(holder, 0.0))

    def rested(self, holder: str) -> None:
        """The worker was asked for nothing in a whole round: what is known of it grows old."""
        if holder in self._seconds:
            self._seconds[holder] *= _FORGET

    def forget(self, holder: str) -> None:
        """It is gone."""
        self._seconds.pop(holder, None)

    def usual(self, holders: Iterable[str]) -> float | None:
        """The median of these workers, the lower one of two; None while none is known."""
        known = sorted(self._seconds[h] for h in holders if h in self._seconds)
        return known[(len(known) - 1) // 2] if known else None

    def of(self, holder: str, usual: float) -> float:
        """Of this worker; the usual while nothing is known of it."""
        return self._seconds.get(holder, usual)
