"""The results that a worker holds: every shard is sent once, in the largest nodes that its assignments allow."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dptrain.cluster.round import snapshot
from dptrain.cluster.tree import Holding, Node, children, is_node, sibling
from simulation.toy import BUFFERS, PARAMS, gradient


@st.composite
def partitions(draw):
    """A number of shards and some disjoint nodes of its tree."""
    shards = draw(st.integers(1, 17))
    parts = [Node(0, shards)]
    for _ in range(draw(st.integers(0, 12))):
        node = parts.pop(draw(st.integers(0, len(parts) - 1)))
        parts += children(node) if node.size > 1 else [node]
    return shards, draw(st.lists(st.sampled_from(parts), unique=True, min_size=1))


@settings(max_examples=200, deadline=None)
@given(partitions(), st.data())
def test_each_shard_is_sent_once_in_the_largest_nodes_that_are_held(partition, data):
    shards, nodes = partition
    params = snapshot(3, 0, np.linspace(-1, 1, PARAMS.size, dtype=np.float32), np.ones(BUFFERS.size, np.float32))
    holding = Holding(params, "a" * 32, shards)
    tasks = [shard for node in nodes for shard in holding.assign(node, node.first)]
    assert sorted(tasks) == sorted(shard for node in nodes for shard in range(*node))
    sent = []
    for shard in data.draw(st.permutations(tasks)):
        assert holding.awaits(shard)
        sent += holding.add(shard, gradient(params.params, 0, shard, 4), seconds=1.0)
        holding.validate()
        assert not holding.awaits(shard)
    ranges = sorted(Node(message.first, message.last) for message in sent)
    assert [shard for node in ranges for shard in range(*node)] == sorted(tasks)
    for message in sent:
        node = Node(message.first, message.last)
        assert is_node(*node, shards)
        assert message.seconds == node.size
        assert message.attempt == max(part.first for part in nodes if node.first <= part.first < node.last)
        assert (message.term, message.incarnation, message.digest) == (3, "a" * 32, params.digest)
        assert message.result.samples == 4 * node.size
    assert not any(sibling(a, shards) == b for a in ranges for b in ranges)


def test_what_waited_for_a_shard_without_a_result_is_sent():
    params = snapshot(3, 0, np.zeros(PARAMS.size, np.float32), np.ones(BUFFERS.size, np.float32))
    holding = Holding(params, "a" * 32, 2)
    holding.assign(Node(0, 2), 0)
    assert holding.add(0, gradient(params.params, 0, 0, 4), 1.0) == []
    assert [(message.first, message.last) for message in holding.discard(1)] == [(0, 1)]
    holding.validate()
