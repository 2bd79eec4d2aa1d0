"""Shards on which workers die: who died holding which. Decides when it is no accident; stops nothing.

The first death blames all that the worker held. From then on each of these shards is computed by a worker that holds
nothing else: the next deaths are about this shard alone. Who was killed from outside, or comes back (it had only lost
its connection), is struck off; so nothing is decided before there was time for that. Deaths under one name (a
worker that is started again and again, or hangs up to do harm) decide only where nobody of another name is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DEATHS = 3
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

    def forgive(self, incarnation: str) -> bool:
        """It was killed from outside, or it lives: no shard was to blame. Returns whether one had been blamed."""
        found = False
        for deaths in self._by_shard.values():
            found |= deaths.pop(incarnation, None) is not None
        return found

    @property
    def suspicious(self) -> tuple[int, ...]:
        """Shards somebody died on."""
        return tuple(sorted(shard for shard, deaths in self._by_shard.items() if deaths))

    def names(self, shard: int) -> tuple[str, ...]:
        """Of those who died on the shard."""
        return tuple(death.name for death in self._by_shard.get(shard, {}).values())

    def waits(self, shard: int, name: str) -> bool:
        """Whether the shard has killed enough to be kept from a worker of this name."""
        names = self.names(shard)
        return len(set(names)) >= DEATHS or (len(names) >= DEATHS and name in names)

    def condemned(self, now: float, there: Iterable[str]) -> tuple[int, tuple[str, ...]] | None:
        """A shard that has killed enough to be kept from all who are `there`, by name, and the names of the dead; None
        while there is none, or it is too early.
        """
        names_there = tuple(there)
        for shard, deaths in sorted(self._by_shard.items()):
            enough = len(deaths) >= DEATHS and all(self.waits(shard, name) for name in names_there)
            if enough and now >= max(d.when for d in deaths.values()) + WAIT:
                return shard, self.names(shard)
        return None

    def done(self, shards: Iterable[int]) -> None:
        """Somebody has computed them and lives."""
        for shard in shards:
            self._by_shard.pop(shard, None)
