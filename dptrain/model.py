"""The seam between the trainer and the networks: one flat parameter vector, sums over samples, a small protocol.

The coordinator, the wire and the simulator know a network only through this file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
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
        return ShardResult(
            np.add(self.gradient, right.gradient),
            np.add(self.statistics, right.statistics),
            self.loss + right.loss,
            self.hits + right.hits,
            self.samples + right.samples,
        )

    def digest(self) -> str:
        """SHA-256 (hex) over everything; equal digests mean equal bits."""
        h = hashlib.sha256(np.ascontiguousarray(self.gradient).data)
        h.update(np.ascontiguousarray(self.statistics).data)
        h.update(f"{self.loss.hex()} {self.hits} {self.samples}".encode())
        return h.hexdigest()


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
