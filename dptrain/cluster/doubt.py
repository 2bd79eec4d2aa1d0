"""Doubtful shards: two workers must agree on the result of one before it counts.

A shard is doubtful because it is audited, because a worker found NaN in it, or because two workers found different
bits. A worker whose result differs from the one that two others agree on computes wrong bits, and is named. Decides
only: `Coordinator` asks the workers, and carries the verdicts out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from dptrain.model import ShardResult, ShardScore

R = TypeVar("R", ShardResult, ShardScore)  #: what a worker finds for a node

MOST = 2  #: results asked of one worker per shard: the second one finds an error that does not come again


def audited(identity: str, step: int, shard: int, rate: float) -> bool:
    """Whether two workers compute this shard of this run: the same shards in every life and every replay."""
    if rate <= 0.0:
        return False
    raw = hashlib.sha256(f"audit {identity} {step} {shard}".encode()).digest()
    return int.from_bytes(raw[:8], "big") < rate * 2.0**64


@dataclass(slots=True, eq=False)
class Opinion(Generic[R]):
    """What one worker found for a node."""

    incarnation: str
    name: str
    attempt: int  #: of the assignment it answers: one answer each
    value: R | None  #: None where only the digest is known
    fault: str = ""  #: the tensor that is not finite
    known: str = ""  #: the digest, where it was sent or computed before

    @property
    def digest(self) -> str:
        """Of the whole result: equal digests mean equal bits. Computed only when two results are compared."""
        if not self.known:
            assert self.value is not None
            self.known = self.value.digest()
        return self.known

    def without_value(self) -> Opinion[R]:
        """The digest stays; a gradient may be large."""
        return replace(self, known=self.digest, value=None)


@dataclass(frozen=True, slots=True)
class Verdict(Generic[R]):
    """Which result of a doubtful shard counts, and which workers found it or another one."""

    shard: int
    right: Opinion[R]
    wrong: tuple[Opinion[R], ...]  #: one per worker
    confirmed: bool  #: by a second worker; else there was none


class Jury(Generic[R]):
    """The doubtful shards of one round."""

    def __init__(self, shards: Iterable[int] = ()) -> None:
        self._opinions: dict[int, list[Opinion[R]]] = {shard: [] for shard in shards}
        self._disputed: set[int] = set()  #: one result is not enough, even where there is only one worker

    @property
    def doubtful(self) -> tuple[int, ...]:
        """The shards without a verdict so far."""
        return tuple(sorted(self._opinions))

    def doubt(self, shards: Iterable[int]) -> None:
        """Two workers must agree on these shards too."""
        for shard in shards:
            self._opinions.setdefault(shard, [])
            self._disputed.add(shard)

    def hear(self, shard: int, opinion: Opinion[R]) -> bool:
        """One worker's result of a doubtful shard. Whether it is new: no copy of an earlier message, and not more than
        a worker is asked for (a result has the size of the network, and all of them are kept).
        """
        heard = self._opinions[shard]
        if any(o.incarnation == opinion.incarnation and o.attempt >= opinion.attempt for o in heard):
            return False
        if self.given(shard, opinion.incarnation) >= MOST:
            return False
        heard.append(opinion)
        if opinion.fault:
            self._disputed.add(shard)
        return True

    def given(self, shard: int, incarnation: str) -> int:
        """How many results this worker has sent."""
        return sum(o.incarnation == incarnation for o in self._opinions[shard])

    def missing(self, shard: int) -> int:
        """Results still needed, if the next ones agree with those on which most workers agree so far."""
        return 2 - max((len(by) for by in self._by_digest(shard).values()), default=0)

    def stalemate(self, shard: int, ready: Iterable[str]) -> bool:
        """Whether none of these workers can say anything new about the shard."""
        return all(self.given(shard, incarnation) >= MOST for incarnation in ready)

    def names(self, shard: int) -> tuple[str, ...]:
        """Of the workers that were heard."""
        return tuple(dict.fromkeys(o.name for o in self._opinions[shard]))

    def verdict(self, shard: int, ready: int) -> Verdict[R] | None:
        """The result that two workers found. With at most one worker: that it found twice (once, if only audited)."""
        heard = self._opinions[shard]
        for digest, by in self._by_digest(shard).items():
            mine = [o for o in heard if o.digest == digest]
            enough = len(by) > 1 or (ready <= 1 and len(mine) > 1)
            if ready <= 1 and shard not in self._disputed and len(heard) == 1:
                enough = True
            if enough:
                return self._found(shard, mine, confirmed=len(by) > 1)
        return None

    def _found(self, shard: int, mine: list[Opinion[R]], *, confirmed: bool) -> Verdict[R] | None:
        right = next((o for o in mine if o.fault or o.value is not None), None)
        if right is None:  # only digests are known: one more result is needed
            return None
        others = {o.incarnation: o for o in self._opinions[shard] if o.digest != right.digest}
        return Verdict(shard, right, tuple(others.values()), confirmed)

    def close(self, shard: int) -> None:
        """The verdict was carried out."""
        del self._opinions[shard]
        self._disputed.discard(shard)

    def _by_digest(self, shard: int) -> dict[str, set[str]]:
        out: dict[str, set[str]] = {}
        for opinion in self._opinions[shard]:
            out.setdefault(opinion.digest, set()).add(opinion.incarnation)
        return out
