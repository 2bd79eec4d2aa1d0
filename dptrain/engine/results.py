"""Where a shard's sums are written: vectors that are taken again once nobody holds them any more."""

from __future__ import annotations

import sys

import numpy as np

from dptrain.types import F32


class Vectors:
    """Vectors of one length. A result goes to a tree, a message, a socket: each holds it for as long as it needs it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._made: list[F32] = []

    def take(self) -> F32:
        """Zeros, (size,). Two to four are made in a run: one written, others on their way."""
        for vector in self._made:
            # Held by the list, by `vector` and as the argument; whoever else holds it, or a view of it, counts too.
            if sys.getrefcount(vector) == 3:
                vector[...] = 0.0
                return vector
        self._made.append(np.zeros(self._size, np.float32))
        return self._made[-1]
