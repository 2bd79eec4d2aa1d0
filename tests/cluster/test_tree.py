"""The tree: one order of addition, in whatever order the nodes arrive."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dptrain.cluster.tree import Node, Tree, children, is_node, parent, sibling, split


@dataclass(frozen=True)
class Sum:
    values: np.ndarray

    def combine(self, right: "Sum") -> "Sum":
        return Sum(self.values + right.values)


def by_definition(leaves: np.ndarray, first: int, last: int) -> np.ndarray:
    """sum(a, b) = sum(a, m) + sum(m, b), m = a + the largest power of two below b - a."""
    if last - first == 1:
        return leaves[first]
    power = 1
    while power * 2 < last - first:
        power *= 2
    return by_definition(leaves, first, first + power) + by_definition(leaves, first + power, last)


@dataclass(frozen=True)
class Said:
    """Addition does not show what stood on which side; brackets do."""

    text: str

    def combine(self, right: "Said") -> "Said":
        return Said(f"({self.text} {right.text})")


def all_nodes(first: int, last: int) -> list[Node]:
    if last - first == 1:
        return [Node(first, last)]
    middle = split(first, last)
    return [Node(first, last), *all_nodes(first, middle), *all_nodes(middle, last)]


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, list[Node]]:
    """A number of shards and a random partition of them into nodes, in random order."""
    shards = draw(st.integers(1, 40))
    parts = [Node(0, shards)]
    for _ in range(draw(st.integers(0, 2 * shards))):
        node = parts.pop(draw(st.integers(0, len(parts) - 1)))
        parts += children(node) if node.size > 1 else [node]
    return shards, draw(st.permutations(parts))


@settings(max_examples=300, deadline=None)
@given(cuts(), st.integers(0, 2**32 - 1))
def test_any_partition_in_any_order_gives_the_bits_of_the_definition(cut, seed):
    shards, parts = cut
    rng = np.random.default_rng(seed)
    leaves = (rng.standard_normal((shards, 5)) * 10.0 ** rng.integers(-6, 6, (shards, 1))).astype(np.float32)
    tree: Tree[Sum] = Tree(shards)
    for at, part in enumerate(parts):
        assert not tree.complete, at
        tree.add(*part, Sum(by_definition(leaves, *part)))
    assert tree.complete
    assert tree.root.values.tobytes() == by_definition(leaves, 0, shards).tobytes()


@pytest.mark.parametrize("order", list(permutations(range(5)))[::7])
def test_what_is_left_is_added_from_the_left_whenever_it_comes(order):
    tree: Tree[Said] = Tree(5)
    for shard in order:
        tree.add(shard, shard + 1, Said(str(shard)))
    assert tree.root.text == "(((0 1) (2 3)) 4)"


def test_another_order_of_additions_gives_other_bits():
    leaves = np.random.default_rng(1).standard_normal((7, 1000)).astype(np.float32)
    assert by_definition(leaves, 0, 7).tobytes() != np.add.reduce(leaves).tobytes()


@pytest.mark.parametrize("shards", range(1, 34))
def test_nodes_parents_and_siblings_agree_with_the_recursive_definition(shards):
    nodes = all_nodes(0, shards)
    for first in range(-1, shards + 2):
        for last in range(-1, shards + 2):
            assert is_node(first, last, shards) == ((first, last) in nodes)
    assert (parent(Node(0, shards), shards), sibling(Node(0, shards), shards)) == (None, None)
    for node in nodes:
        if node.size > 1:
            left, right = children(node)
            assert (left.first, left.last, right.last) == (node.first, right.first, node.last)
            assert parent(left, shards) == parent(right, shards) == node
            assert (sibling(left, shards), sibling(right, shards)) == (right, left)


def test_small_trees_have_the_nodes_listed_here():
    assert [n for n in all_nodes(0, 4)] == [(0, 4), (0, 2), (0, 1), (1, 2), (2, 4), (2, 3), (3, 4)]
    assert [split(0, n) for n in range(2, 10)] == [1, 2, 2, 4, 4, 4, 4, 8]
    assert sibling(Node(4, 5), 5) == (0, 4)
    assert (str(Node(2, 3)), str(Node(2, 4))) == ("shard 2", "shards 2-3")


@pytest.mark.parametrize("node", [(0, 1), (1, 2), (0, 2), (0, 4)])
def test_a_shard_that_is_there_cannot_come_again_and_nothing_changes(node):
    tree: Tree[Sum] = Tree(4)
    assert tree.add(1, 2, Sum(np.ones(1))) == (1, 2)
    assert tree.add(0, 1, Sum(np.ones(1))) == (0, 2)
    with pytest.raises(ValueError, match="is there already"):
        tree.add(*node, Sum(np.ones(1)))
    assert tree.nodes() == ((0, 2),)
    assert tree.free(2, 4)


def test_a_range_that_is_no_node_is_refused():
    with pytest.raises(ValueError, match=r"\[1, 3\) is no node of the tree over 4 shards"):
        Tree(4).add(1, 3, Sum(np.ones(1)))


def test_a_node_that_was_taken_out_is_free_again():
    tree: Tree[Sum] = Tree(3)
    tree.add(0, 1, Sum(np.full(1, 2.0)))
    tree.add(1, 2, Sum(np.full(1, 3.0)))
    assert tree.take(Node(0, 2)).values == 5.0
    assert tree.free(0, 3)
    assert tree.nodes() == ()
