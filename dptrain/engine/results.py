"""Where the sums of a shard are written: vectors whose memory is used again when no result holds it any more."""

from __future__ import annotations

import numpy as np

from dptrain.types import F32


class Vectors:
    """Vectors of one length, for one thread. Their holders may be in any thread: trees, messages, sockets.

    Memory comes back by itself when the last array or buffer over it is gone. A holder that keeps a result for ever
    costs a fresh vector, and never a wrong one: memory that a result still shows is never written.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[F32] = []  #: memory that no result uses

    def take(self) -> F32:
        """Zeros, (size,). A run makes two to four vectors: one is written while others are on their way."""
        memory = self._free.pop() if self._free else np.empty(self._size, np.float32)
        memory[...] = 0.0
        return np.asarray(_Loan(memory, self._free))


class _Loan:
    """Owns the memory of one vector while the vector is in use: NumPy, views and sockets keep this object alive."""

    def __init__(self, memory: F32, free: list[F32]) -> None:
        self.__array_interface__ = memory.__array_interface__
        self._memory, self._free = memory, free

    def __del__(self) -> None:
        self._free.append(self._memory)
