"""Which shards an augmenter prepares when, and which it keeps: no socket, no images' meaning, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dptrain.transport.feed import augmenter_of
from dptrain.types import U8

AHEAD = 3  #: steps beyond the one that was asked for last
BEHIND = 1  #: steps before it: other workers may still be in them


class Place(NamedTuple):
    """One augmenter among all of a run."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to prepare: pure functions of the run's identity."""

    images: Callable[[int, int], U8]  #: (step, shard) -> prepared images
    shards: Callable[[int], int]  #: of a step
    shards_per_step: int  #: of a full one
    total_steps: int


class Window:
    """Prepared shards around the step that was asked for last; at most AHEAD + BEHIND + 1 steps of our share."""

    def __init__(self, work: Work, place: Place) -> None:
        self._work, self._place = work, place
        self._step = 0
        self._ready: dict[tuple[int, int], U8] = {}

    def __len__(self) -> int:
        return len(self._ready)

    def take(self, step: int, shard: int) -> U8 | None:
        """The images, prepared now where they are not yet; None where the shard does not exist or is another's."""
        work = self._work
        if not 0 <= step < work.total_steps or not 0 <= shard < work.shards(step) or not self._is_ours(step, shard):
            return None
        self._move(step)
        if (step, shard) not in self._ready:
            self._ready[step, shard] = work.images(step, shard)
        return self._ready[step, shard]

    def prepare_one(self) -> bool:
        """Prepares the next shard of the window; False where all are ready."""
        for key in self._ours():
            if key not in self._ready:
                self._ready[key] = self._work.images(*key)
                return True
        return False

    def _move(self, step: int) -> None:
        self._step = step
        low, high = step - BEHIND, step + AHEAD
        self._ready = {key: images for key, images in self._ready.items() if low <= key[0] <= high}

    def _ours(self) -> Iterator[tuple[int, int]]:
        for step in range(self._step, min(self._step + AHEAD + 1, self._work.total_steps)):
            yield from ((step, shard) for shard in range(self._work.shards(step)) if self._is_ours(step, shard))

    def _is_ours(self, step: int, shard: int) -> bool:
        return augmenter_of(step, shard, self._work.shards_per_step, self._place.of) == self._place.number
