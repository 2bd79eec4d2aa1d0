"""What the trainer knows of networks and data: one flat parameter vector, sums over images, small protocols.

The loop, the coordinator, the messages and the simulator know a network and a data set only through this file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Protocol

import numpy as np

from dptrain.types import F32, I64, U8, Floats


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One named array inside a flat vector."""

    name: str  #: as in PyTorch's state_dict of the same network, e.g. "layer1.0.conv1.weight"
    shape: tuple[int, ...]
    decay: bool = True  #: False for biases and BatchNorm's scale and shift: `decay="weights"` leaves these alone
    init: str = "zeros"  #: how its first values are drawn: a name of dptrain.nn.initialise. No part of the layout
    fan: tuple[int, int] = (0, 0)  #: for `init`: inputs of one output, and outputs of one input

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


def within(name: str, prefixes: Sequence[str]) -> str:
    """The longest of the prefixes under which the array stands: `layer1` has `layer1.0.conv1.weight`. "": none."""
    return max((p for p in prefixes if name == p or name.startswith(f"{p}.")), key=len, default="")


@dataclass(frozen=True)
class ParamLayout:
    """Names, shapes and offsets of the arrays that lie one after another in one flat vector."""

    specs: tuple[ParamSpec, ...]
    origin: str = ""  #: SHA-256 (hex) of the file the network was read from; "": it is one of ours

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.specs]
        if len(set(names)) != len(names):
            raise ValueError(f"duplicate parameter names: {sorted({n for n in names if names.count(n) > 1})}")

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(spec.size for spec in self.specs)

    def items(self) -> Iterator[tuple[ParamSpec, int]]:
        """Yields (spec, offset) in order."""
        offset = 0
        for spec in self.specs:
            yield spec, offset
            offset += spec.size

    def views(self, flat: Floats) -> dict[str, Floats]:
        """Named views into `flat` (1-D, `size` elements); writing through them writes `flat`."""
        if flat.shape != (self.size,):
            raise ValueError(f"flat vector has shape {flat.shape}, the layout wants ({self.size},)")
        return {s.name: flat[at : at + s.size].reshape(s.shape) for s, at in self.items()}

    def first_not_finite(self, flat: F32) -> str:
        """Name of the first array of `flat` that holds NaN or infinity; "" where all is finite."""
        finite = np.isfinite(flat)
        if finite.all():
            return ""
        place = int(np.argmin(finite))
        return next((s.name for s, at in self.items() if at <= place < at + s.size), f"element {place}")

    def digest(self) -> str:
        """SHA-256 (hex) over names and shapes, in order, and the origin, if there is one."""
        text = "\n".join(f"{s.name} {s.shape} {s.decay}" for s in self.specs)
        if self.origin:
            text += f"\nfrom {self.origin}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What one shard, or a node of the tree over shards, contributes to a step. Everything is a SUM over samples."""

    gradient: F32  #: (params.size,)
    statistics: F32  #: (buffers.size,) batch mean / unbiased batch variance, times the samples of the shard
    loss: float  #: sum of the samples' losses
    hits: int  #: samples whose highest score is the right class
    samples: int

    def combine(self, right: ShardResult) -> ShardResult:
        """The tree's one operation, element by element: left + right, in this order. Returns new arrays."""
        with np.errstate(over="ignore", invalid="ignore"):  # a sum that overflows is found by `not_finite`, by name
            gradient, statistics = np.add(self.gradient, right.gradient), np.add(self.statistics, right.statistics)
        return ShardResult(
            gradient, statistics, self.loss + right.loss, self.hits + right.hits, self.samples + right.samples
        )

    def not_finite(self, params: ParamLayout, buffers: ParamLayout) -> str:
        """Name of the first array that holds NaN or infinity, or "loss"; "" where all is finite."""
        named = params.first_not_finite(self.gradient) or buffers.first_not_finite(self.statistics)
        return named or ("" if isfinite(self.loss) else "loss")

    def digest(self) -> str:
        """SHA-256 (hex) over everything; equal digests mean equal bits."""
        h = hashlib.sha256(np.ascontiguousarray(self.gradient).data)
        h.update(np.ascontiguousarray(self.statistics).data)
        h.update(f"{self.loss.hex()} {self.hits} {self.samples}".encode())
        return h.hexdigest()


@dataclass(frozen=True, slots=True)
class ShardScore:
    """What one shard of a split contributes to the score of the split. Everything is a SUM over images."""

    samples: int = 0
    hits: int = 0  #: images whose highest score is the right class
    hits5: int = 0  #: images whose right class is among the five highest scores
    loss: float = 0.0

    def combine(self, right: ShardScore) -> ShardScore:
        """Left + right, in this order."""
        return ShardScore(
            self.samples + right.samples,
            self.hits + right.hits,
            self.hits5 + right.hits5,
            self.loss + right.loss,
        )

    def digest(self) -> str:
        """SHA-256 (hex) over everything; equal digests mean equal counts and the same bits of the loss."""
        return hashlib.sha256(f"{self.samples} {self.hits} {self.hits5} {self.loss.hex()}".encode()).hexdigest()


class Model(Protocol):
    """A network as the trainer sees it. One instance is used by one thread at a time."""

    @property
    def params(self) -> ParamLayout:
        """Learnable arrays."""
        ...

    @property
    def buffers(self) -> ParamLayout:
        """BatchNorm running statistics."""
        ...

    def gradient(self, params: F32, x: U8, y: I64, step: int = 0, shard: int = 0) -> ShardResult:
        """Forward and backward of one shard. x: (n, h, w, c) uint8, y: (n,) class numbers. Returns sums.

        What is drawn by chance (dropout) is a pure function of the run's seed, `step` and `shard`.
        """
        ...

    def logits(self, params: F32, buffers: F32, x: U8) -> F32:
        """(n, h, w, c) uint8 -> (n, classes), with running statistics: a score never depends on its batch mates."""
        ...


class Sampler(Protocol):
    """Which images make which shard of which step: `dptrain.data.shards`."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of every epoch."""
        ...

    def shards(self, step: int, /) -> int:
        """Number of shards of a step, at least one."""
        ...

    def shard(self, step: int, index: int, /) -> I64:
        """(n,) ids of the images of one shard, n >= 1."""
        ...


class Batches(Protocol):
    """The images of every step, cut into shards. Pure functions of the arguments."""

    @property
    def sampler(self) -> Sampler:
        """Of the training split."""
        ...

    def images(self, step: int, shard: int, /) -> tuple[U8, I64]:
        """One shard of training, augmented: (n, h, w, c) images and (n,) labels."""
        ...


class Source(Batches, Protocol):
    """All images and labels of a run: `dptrain.data.shards`."""

    def labels(self, step: int, shard: int, /) -> I64:
        """(n,) labels of the same shard."""
        ...

    def evaluation(self, split: str, start: int, stop: int, /) -> tuple[U8, I64]:
        """Images [start, stop) of a split, not augmented, and their labels."""
        ...

    def split_labels(self, split: str, /) -> I64:
        """All labels of a split: "validation" or "test"; empty where there is no such split."""
        ...


class Criterion(Protocol):
    """What is minimised: `dptrain.nn.criterion`."""

    @property
    def weights(self) -> tuple[float, ...]:
        """What an image counts in the loss, by class; (): one each."""
        ...

    def count(self, labels: I64, /) -> float:
        """What images of these classes count together."""
        ...

    def score(self, logits: F32, labels: I64, /) -> ShardScore:
        """(n, classes) scores of a network and (n,) labels -> sums."""
        ...
