"""What one worker holds of the current step: the nodes it was asked for, and the sums it can already make of them."""

from __future__ import annotations

from dptrain.cluster.messages import NodeDone, Params
from dptrain.cluster.tree import Node, Tree, sibling
from dptrain.model import ShardResult


class Holding:
    """The shards that one worker holds of one step, until their sums are sent.

    A sum waits exactly as long as its sibling in the tree is ours too, as a whole: then both go as one node. A shard
    asked for alone never becomes part of a sum: its own result is what is asked for.
    """

    def __init__(self, params: Params, incarnation: str, shards: int) -> None:
        """`params`: what all shards are computed with. `shards`: of the whole step."""
        self.shards = shards
        self._params = params
        self._incarnation = incarnation
        self._attempts: dict[int, int] = {}  #: by shard: ours, not sent
        self._seconds: dict[int, float] = {}  #: by shard: computed, not sent
        self._alone: dict[int, int] = {}  #: shards asked for alone, not computed yet -> attempt
        self._tree: Tree[ShardResult] = Tree(shards)

    def assign(self, node: Node, attempt: int) -> list[int]:
        """We were asked for a node; returns its shards that were not ours yet and are to be computed."""
        new = [shard for shard in range(*node) if shard not in self._attempts]
        for shard in range(*node):
            self._attempts[shard] = max(attempt, self._attempts.get(shard, 0))
        return new

    def assign_alone(self, shard: int, attempt: int) -> tuple[list[int], list[NodeDone]]:
        """We were asked for one shard's own result: it is computed for that, unless it is about to be computed anyway.

        Returns what is to be computed, and what need not wait for this shard any longer.
        """
        new = [] if self.awaits(shard) else [shard]
        self._alone[shard] = max(attempt, self._alone.get(shard, 0))
        if shard in self._attempts and shard not in self._seconds:
            del self._attempts[shard]
        return new, self._ripe()

    def awaits(self, shard: int) -> bool:
        """Whether the shard is ours and not computed yet."""
        return shard in self._alone or (shard in self._attempts and shard not in self._seconds)

    def attempt(self, shard: int) -> int:
        """Of the assignment that a result of this shard, which we await, answers."""
        return self._alone.get(shard, self._attempts.get(shard, 0))

    def add(self, shard: int, result: ShardResult, seconds: float) -> list[NodeDone]:
        """A shard we await is computed; returns what is to be sent now."""
        if shard in self._alone:
            return [self._answer(Node(shard, shard + 1), self._alone.pop(shard), seconds, result)]
        self._seconds[shard] = seconds
        self._tree.add(shard, shard + 1, result)
        return self._ripe()

    def discard(self, shard: int) -> list[NodeDone]:
        """A shard of ours will have no result; returns what need not wait for it any longer."""
        if self._alone.pop(shard, None) is not None:
            return []
        del self._attempts[shard]
        return self._ripe()

    def _ripe(self) -> list[NodeDone]:
        nodes = [node for node in self._tree.nodes() if not self._has_sibling(node)]
        return [self._take(node) for node in nodes]

    def _has_sibling(self, node: Node) -> bool:
        other = sibling(node, self.shards)
        return other is not None and all(shard in self._attempts for shard in range(*other))

    def _take(self, node: Node) -> NodeDone:
        attempt = max(self._attempts.pop(shard) for shard in range(*node))
        seconds = 0.0
        for shard in range(*node):
            seconds += self._seconds.pop(shard)
        return self._answer(node, attempt, seconds, self._tree.take(node))

    def _answer(self, node: Node, attempt: int, seconds: float, result: ShardResult) -> NodeDone:
        p = self._params
        return NodeDone(p.term, self._incarnation, p.step, *node, attempt, p.digest, seconds, result)

    def validate(self) -> None:
        """What is computed is ours and lies in the tree; what could be sent has been."""
        in_tree = {shard for node in self._tree.nodes() for shard in range(*node)}
        assert in_tree == self._seconds.keys() <= self._attempts.keys()
        assert all(self._has_sibling(node) for node in self._tree.nodes())
