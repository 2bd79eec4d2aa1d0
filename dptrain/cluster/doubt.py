"""Shards whose result must be found twice, by two workers, before it counts; and what the workers found. Decides only.

A shard is doubtful because it is audited, because a worker found NaN in it, or because two workers found different
bits. Whose result is not the one that was found twice computes wrong bits, and is named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

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


T = TypeVar("T")
MOST = 2  #: results one worker is asked for: a second one finds an error that does not come again


def audited(identity: str, step: int, shard: int, rate: float) -> bool:
    """Whether this shard of this run is computed by two workers: the same ones in every life and every replay."""
    if rate <= 0.0:
        return False
    raw = hashlib.sha256(f"audit {identity} {step} {shard}".encode()).digest()
    return int.from_bytes(raw[:8], "big") < rate * 2.0**64


@dataclass(frozen=True, slots=True)
class Opinion(Generic[T]):
    """What one worker found."""

    incarnation: str
    name: str
    attempt: int  #: of the assignment it answers: one answer each
    digest: str  #: of the whole result; equal digests mean equal bits
    value: T | None  #: None where only the digest was sent
    fault: str = ""  #: the tensor that is not finite


@dataclass(frozen=True, slots=True)
class Verdict(Generic[T]):
    """What a doubtful shard's result is, and who found it or something else."""

    shard: int
    right: Opinion[T]
    wrong: tuple[Opinion[T], ...]  #: one a worker
    confirmed: bool  #: by a second worker; else there was none


class Jury(Generic[T]):
    """The doubtful shards of one round."""

    def __init__(self, shards: Iterable[int] = ()) -> None:
        self._opinions: dict[int, list[Opinion[T]]] = {shard: [] for shard in shards}
        self._disputed: set[int] = set()  #: one result is not enough, even where there is only one worker

    @property
    def doubtful(self) -> tuple[int, ...]:
        """Without a verdict so far."""
        return tuple(sorted(self._opinions))

    def doubt(self, shards: Iterable[int]) -> None:
        """These, too, need to be found twice."""
        for shard in shards:
            self._opinions.setdefault(shard, [])
            self._disputed.add(shard)

    def hear(self, shard: int, opinion: Opinion[T]) -> bool:
        """One worker's result of a doubtful shard; whether it is a new one (not a copy of the same message)."""
        heard = self._opinions[shard]
        if any(o.incarnation == opinion.incarnation and o.attempt >= opinion.attempt for o in heard):
            return False
        heard.append(opinion)
        if opinion.fault:
            self._disputed.add(shard)
        return True

    def given(self, shard: int, incarnation: str) -> int:
        """How many results this worker has sent."""
        return sum(o.incarnation == incarnation for o in self._opinions[shard])

    def missing(self, shard: int) -> int:
        """Results still needed, if the next ones agree with the most that do so far."""
        return 2 - max((len(by) for by in self._by_digest(shard).values()), default=0)

    def stalemate(self, shard: int, ready: Iterable[str]) -> bool:
        """Whether nobody there can say anything new about the shard."""
        return all(self.given(shard, incarnation) >= MOST for incarnation in ready)

    def names(self, shard: int) -> tuple[str, ...]:
        """Of the workers that were heard."""
        return tuple(dict.fromkeys(o.name for o in self._opinions[shard]))

    def verdict(self, shard: int, ready: int) -> Verdict[T] | None:
        """Found twice, by two workers; where at most one is there, by that one (an audit without doubts: once)."""
        heard = self._opinions[shard]
        for digest, by in self._by_digest(shard).items():
            mine = [o for o in heard if o.digest == digest]
            enough = len(by) > 1 or (ready <= 1 and len(mine) > 1)
            if ready <= 1 and shard not in self._disputed and len(heard) == 1:
                enough = True
            if enough:
                return self._found(shard, mine, confirmed=len(by) > 1)
        return None

    def _found(self, shard: int, mine: list[Opinion[T]], *, confirmed: bool) -> Verdict[T] | None:
        right = next((o for o in mine if o.fault or o.value is not None), None)
        if right is None:  # the bits themselves were never sent by themselves: one more result is needed
            return None
        others = {o.incarnation: o for o in self._opinions[shard] if o.digest != right.digest}
        return Verdict(shard, right, tuple(others.values()), confirmed)

    def close(self, shard: int) -> None:
        """The verdict was taken."""
        del self._opinions[shard]
        self._disputed.discard(shard)

    def _by_digest(self, shard: int) -> dict[str, set[str]]:
        out: dict[str, set[str]] = {}
        for opinion in self._opinions[shard]:
            out.setdefault(opinion.digest, set()).add(opinion.incarnation)
        return out
