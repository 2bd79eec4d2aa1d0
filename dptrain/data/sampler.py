"""Which images are in which shard of which step: a pure function of (images, batch size, shard size, seed)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels import philox
from dptrain.settings import uneven
from dptrain.types import I64


def permutation(seed: int, epoch: int, n: int) -> I64:
    """The order of `n` images in an epoch; all are equally likely up to the bias of philox.bounded. A new array."""
    return philox.permutation(seed, philox.Domain.ORDER, epoch, n)


def drawn(seed: int, epoch: int, n: int) -> I64:
    """`n` of `n` images with replacement; all draws are equally likely. A new array."""
    words = philox.words(seed, philox.Domain.ORDER_REPLACEMENT, epoch, 0, n)
    return (words.astype(np.int64) * n) >> 32


@lru_cache(maxsize=4)  # an augmenter a few steps ahead needs two epochs; 50,000 images are 0.4 MB
def _order(seed: int, epoch: int, n: int, rule: Callable[[int, int, int], I64]) -> I64:
    order = rule(seed, epoch, n)
    order.setflags(write=False)
    return order


@dataclass(frozen=True, slots=True)
class Sampler:
    """Divides the order of every epoch into batches, and each batch into shards. Steps and shards count from 0.

    Each image is used exactly once per epoch; with `replacement`, images are drawn at random. The last batch of an
    epoch may have fewer shards, and its last shard fewer images.
    Raises UsageError for sizes that cannot be divided.
    """

    samples: int  #: images of the training set; their numbers are 0 ... samples - 1
    batch_size: int
    shard_size: int
    seed: int
    replacement: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}; it must lie in 0 ... 2^63 - 1")
        if not 1 <= self.samples < 2**31:
            raise UsageError(f"there are {self.samples} training images; at least 1 and fewer than 2^31 are needed")
        if self.shard_size < 1 or self.batch_size < 1:
            raise UsageError(
                f"batch_size is {self.batch_size} and shard_size {self.shard_size}; both must be 1 or more"
            )
        if refusal := uneven(self.batch_size, self.shard_size):
            raise UsageError(refusal)

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch; the last one may be smaller."""
        return -(-self.samples // self.batch_size)

    def epoch_of(self, step: int) -> int:
        """The epoch of the step, from 0."""
        return step // self.steps_per_epoch

    def position(self, step: int) -> int:
        """The position of the step in its epoch, from 0."""
        return step % self.steps_per_epoch

    def shards(self, step: int) -> int:
        """How many shards the step has."""
        first, last = self._range(step)
        return -(-(last - first) // self.shard_size)

    def shard(self, step: int, index: int) -> I64:
        """Numbers of the images of one shard, a read-only view. Raises IndexError if the step has no such shard."""
        if not 0 <= index < self.shards(step):
            raise IndexError(f"step {step} has the shards 0 ... {self.shards(step) - 1}, not {index}")
        first = index * self.shard_size
        return self.batch(step)[first : first + self.shard_size]

    def batch(self, step: int) -> I64:
        """Numbers of the images of the whole step, a read-only view: its shards one after another."""
        first, last = self._range(step)
        rule = drawn if self.replacement else permutation
        return _order(self.seed, self.epoch_of(step), self.samples, rule)[first:last]

    def _range(self, step: int) -> tuple[int, int]:
        if step < 0:
            raise IndexError(f"steps count from 0, not {step}")
        first = self.position(step) * self.batch_size
        return first, min(first + self.batch_size, self.samples)
