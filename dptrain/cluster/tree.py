"""The fixed binary tree over the shards of a step, filled in any order: the twin of `dptrain.loop.tree_sum`.

The coordinator fills one `Tree` per step. A worker adds what it can of the same tree before it sends it: its `Holding`.

A node is a half-open range of shards [first, last). The root is [0, shards). A node of more than one shard has the
children [first, m) and [m, last), m = first + the largest power of two below its length (`dptrain.loop.split`). Sums
along the tree depend neither on which worker computed a node nor on when its result came.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from dptrain.cluster.messages import NodeDone, Params
from dptrain.loop import split
from dptrain.model import ShardResult


class Node(NamedTuple):
    """The shards [first, last)."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """Number of shards."""
        return self.last - self.first

    def __str__(self) -> str:
        return f"shard {self.first}" if self.size == 1 else f"shards {self.first}-{self.last - 1}"


@lru_cache
def children(node: Node) -> tuple[Node, Node]:
    """Left and right child of a node of at least two shards."""
    middle = split(*node)
    return Node(node.first, middle), Node(middle, node.last)


def path(first: int, last: int, shards: int) -> list[Node]:
    """The nodes from the root down to [first, last), both included; empty where that is no node of the tree."""
    if not 0 <= first < last <= shards:
        return []
    nodes = [Node(0, shards)]
    while nodes[-1] != (first, last):
        if nodes[-1].size <= last - first:
            return []
        left, right = children(nodes[-1])
        nodes.append(left if first < left.last else right)
    return nodes


def is_node(first: int, last: int, shards: int) -> bool:
    """Whether [first, last) is a node of the tree over `shards` leaves."""
    return bool(path(first, last, shards))


def parent(node: Node, shards: int) -> Node | None:
    """The node above; None for the root."""
    above = path(*node, shards)[:-1]
    return above[-1] if above else None


@lru_cache
def sibling(node: Node, shards: int) -> Node | None:
    """The other child of the parent; None for the root."""
    above = parent(node, shards)
    if above is None:
        return None
    left, right = children(above)
    return right if node == left else left


class Summand(Protocol):
    """What can be added along the tree."""

    def combine(self, right: Self, /) -> Self:
        """Left + right, in this order."""
        ...


T = TypeVar("T", bound=Summand)


class Tree(Generic[T]):
    """A tree being filled with nodes, in any order and of any size; siblings are added as soon as both are there."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self._values: dict[Node, T] = {}  #: disjoint nodes of which no two are siblings

    def nodes(self) -> tuple[Node, ...]:
        """The nodes it holds, merged as far as possible, from left to right."""
        return tuple(sorted(self._values))

    def free(self, first: int, last: int) -> bool:
        """Whether it holds no shard of [first, last) yet."""
        return all(node.last <= first or last <= node.first for node in self._values)

    def add(self, first: int, last: int, value: T) -> Node:
        """Adds a node and merges siblings; returns the node it is part of now. ValueError: no node, or not free."""
        nodes = path(first, last, self.shards)
        if not nodes:
            raise ValueError(f"[{first}, {last}) is no node of the tree over {self.shards} shards")
        if not self.free(first, last):
            raise ValueError(f"[{first}, {last}) is there already, at least in part: {self.nodes()}")
        node = nodes.pop()
        while nodes:
            left, right = children(nodes[-1])
            other = self._values.pop(right if node == left else left, None)
            if other is None:
                break
            value = value.combine(other) if node == left else other.combine(value)
            node = nodes.pop()
        self._values[node] = value
        return node

    def take(self, node: Node) -> T:
        """Removes one of `nodes()` and returns its value."""
        return self._values.pop(node)

    @property
    def complete(self) -> bool:
        """Whether every shard is in."""
        return Node(0, self.shards) in self._values

    @property
    def root(self) -> T:
        """The sum over all shards; only when complete."""
        return self._values[Node(0, self.shards)]


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
