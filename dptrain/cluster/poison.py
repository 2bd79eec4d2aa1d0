"""Shards on which workers die: who died holding which. Decides when it is no accident; stops nothing.

The first death blames all that the worker held. From then on each of these shards is computed by a worker that holds
nothing else: the next deaths are about this shard alone. Who was killed from outside, or comes back (it had only lost
its connection), is struck off; so nothing is decided before there was time for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DEATHS = 3  #: different workers
WAIT = 10.0  #: seconds after the last death; nobody gets the shard meanwhile


@dataclass(frozen=True, slots=True)
class Death:
    """One worker that is gone."""

    incarnation: str
    name: str
    when: float


class Deaths:
    """Of one round."""

    def __init__(self) -> None:
        self._by_shard: dict[int, dict[str, Death]] = {}

    def add(self, shards: Iterable[int], death: Death) -> None:
        """A worker died holding these shards."""
        for shard in shards:
            self._by_shard.setdefault(shard, {})[death.incarnation] = death

    def forgive(self, incarnation: str) -> None:
        """It was killed from outside, or it lives: no shard was to blame."""
        for deaths in self._by_shard.values():
            deaths.pop(incarnation, None)

    @property
    def suspicious(self) -> tuple[int, ...]:
        """Shards somebody died on."""
        return tuple(sorted(shard for shard, deaths in self._by_shard.items() if deaths))

    def waits(self, shard: int) -> bool:
        """Whether the shard is not to be given to anybody: it has killed enough."""
        return len(self._by_shard.get(shard, ())) >= DEATHS

    def condemned(self, now: float) -> tuple[int, tuple[str, ...]] | None:
        """A shard that has killed DEATHS workers, and their names; None while there is none, or it is too early."""
        for shard, deaths in sorted(self._by_shard.items()):
            if len(deaths) >= DEATHS and now >= max(d.when for d in deaths.values()) + WAIT:
                return shard, tuple(d.name for d in deaths.values())
        return None

    def done(self, shards: Iterable[int]) -> None:
        """Somebody has computed them and lives."""
        for shard in shards:
            self._by_shard.pop(shard, None)
