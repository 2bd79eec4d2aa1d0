"""The fixed binary tree over the shards of a step, filled in any order: the twin of `dptrain.loop.tree_sum`.

A node is a half-open range of shards [first, last). The root is [0, shards). A node of more than one shard has the
children [first, m) and [m, last), m = first + the largest power of two below its length (`dptrain.loop.split`). Sums
along the tree depend neither on which worker computed a node nor on when its result came.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from dptrain.loop import split


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
