"""What is kept of the step that was applied last, while another answer about it may come in. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dptrain.cluster.jury import Opinion
from dptrain.cluster.rounds import StepRound
from dptrain.cluster.state import TrainingState
from dptrain.cluster.tree import Node
from dptrain.model import ShardResult


@dataclass(frozen=True, slots=True)
class Applied:
    """One step: what was taken of the nodes that two workers were asked for, and the way back."""

    step: int
    digest: str  #: of the parameters it was computed with
    firsts: dict[Node, Opinion[ShardResult]]
    before: TrainingState  #: copies of all that the update changes

    @classmethod
    def of(cls, done: StepRound, state: TrainingState) -> Self | None:
        """A complete round about to be applied to `state`; None where nobody can say anything more about it."""
        if not done.firsts:
            return None
        return cls(done.step, done.params.digest, done.firsts, state.copied())

    def first(self, step: int, digest: str, node: Node) -> Opinion[ShardResult] | None:
        """What was taken of this node of this step; None where that is not known."""
        return self.firsts.get(node) if (step, digest) == (self.step, self.digest) else None
