"""What a worker holds of the current step: the shards it was assigned, and the sums it can already make of them."""

from __future__ import annotations

from dptrain.cluster.messages import NodeDone, Params
from dptrain.cluster.tree import Node, Tree, sibling
from dptrain.model import ShardResult


class Holding:
    """The shards that one worker holds of one step, until their sums are sent.

    A sum waits while its sibling in the tree is held here too, as a whole: then both are sent as one node. A shard that
    is assigned alone is sent alone: it never becomes a part of a sum.
    """

    def __init__(self, params: Params, incarnation: str, shards: int) -> None:
        """`params`: what all shards are computed with. `shards`: of the whole step."""
        self.shards = shards
        self._params = params
        self._incarnation = incarnation
        self._attempts: dict[int, int] = {}  #: by shard: held, not sent yet
        self._seconds: dict[int, float] = {}  #: by shard: computed, not sent yet
        self._alone: dict[int, int] = {}  #: shards assigned alone, not computed yet -> attempt
        self._tree: Tree[ShardResult] = Tree(shards)

    def assign(self, node: Node, attempt: int) -> list[int]:
        """A node is assigned. Returns its shards that are neither held nor awaited: these are to be computed."""
        new = [shard for shard in range(*node) if shard not in self._attempts and shard not in self._alone]
        for shard in range(*node):
            self._attempts[shard] = max(attempt, self._attempts.get(shard, 0))
        return new

    def assign_alone(self, shard: int, attempt: int) -> tuple[list[int], list[NodeDone]]:
        """One shard is assigned alone. It is computed for that, unless it is held and not computed yet.

        Returns the shards that are to be computed, and the answers that no longer wait for this shard.
        """
        new = [] if self.awaits(shard) else [shard]
        self._alone[shard] = max(attempt, self._alone.get(shard, 0))
        if shard in self._attempts and shard not in self._seconds:
            del self._attempts[shard]
        return new, self._ripe()

    def awaits(self, shard: int) -> bool:
        """Whether the shard is held and not computed yet."""
        return shard in self._alone or (shard in self._attempts and shard not in self._seconds)

    def attempt(self, shard: int) -> int:
        """Of the assignment that the result of this awaited shard answers."""
        return self._alone.get(shard, self._attempts.get(shard, 0))

    def add(self, shard: int, result: ShardResult, seconds: float) -> list[NodeDone]:
        """The result of an awaited shard is here. Returns what is to be sent now."""
        answers: list[NodeDone] = []
        if shard in self._alone:
            answers.append(self._answer(Node(shard, shard + 1), self._alone.pop(shard), seconds, result))
        if shard in self._attempts and shard not in self._seconds:  # assigned both alone and in a node
            self._seconds[shard] = seconds
            self._tree.add(shard, shard + 1, result)
            answers += self._ripe()
        return answers

    def discard(self, shard: int) -> list[NodeDone]:
        """An awaited shard will have no result. Returns the answers that no longer wait for it."""
        self._alone.pop(shard, None)
        if shard not in self._seconds:  # an earlier result of the shard, in a sum, stays
            self._attempts.pop(shard, None)
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
        """Asserts that what is computed is held and lies in the tree, and that what could be sent has been sent."""
        in_tree = {shard for node in self._tree.nodes() for shard in range(*node)}
        assert in_tree == self._seconds.keys() <= self._attempts.keys()
        assert all(self._has_sibling(node) for node in self._tree.nodes())
