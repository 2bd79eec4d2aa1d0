"""The simulated run directory: a term, and checkpoints that take time, fail while the disk is full, and rot."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from dptrain.cluster.state import TrainingState

KEPT = 3  #: checkpoints


@dataclass(slots=True)
class Version:
    """One checkpoint that is durable."""

    term: int
    state: TrainingState
    whole: bool = True


class Disk:
    """What outlives every process."""

    def __init__(self, first: TrainingState) -> None:
        self.term = 0
        self.full = False
        self._first = first
        self._versions: list[Version] = []  #: oldest first
        self.refused = 0  #: writes of coordinators that had been succeeded

    def next_term(self) -> int:
        """Counted and durable before anything else happens in a life."""
        self.term += 1
        return self.term

    def write(self, term: int, state: TrainingState) -> bool:
        """A checkpoint, whole or not at all; False where the disk is full. PermissionError: `term` is over."""
        if term != self.term:
            self.refused += 1
            raise PermissionError(f"term {term} is over: {self.term} has begun")
        if self.full:
            return False
        self._versions.append(Version(term, state))
        del self._versions[:-KEPT]
        return True

    def rot(self) -> None:
        """The newest checkpoint is damaged; never the last one that is whole."""
        whole = [v for v in self._versions if v.whole]
        if len(whole) > 1:
            whole[-1].whole = False

    @property
    def newest(self) -> TrainingState:
        """The newest whole checkpoint; the beginning where there is none. Not to be changed."""
        return max((v.state for v in reversed(self._versions) if v.whole), key=lambda s: s.step, default=self._first)

    def load(self) -> TrainingState:
        """A copy of it."""
        return deepcopy(self.newest)
