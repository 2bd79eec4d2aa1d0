"""Who computes which shards of one round (a step, or the scoring of a split). It sends nothing and adds nothing up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from dptrain.cluster.tree import Node, children, sibling


@dataclass(slots=True)
class Assignment:
    """A node that one incarnation was asked to compute."""

    holder: str  #: incarnation
    node: Node
    attempt: int  #: 0 for the first; the highest of its shards
    since: float
    lease: float  #: seconds of silence allowed
    expires: float


class Book:
    """The shards of one round: each is open, held by one live assignment, or done.

    An assignment that is given up (lease over, worker lost) is superseded, but whoever held it may still answer: the
    first valid result wins.
    """

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self._done = [False] * shards
        self._attempts = [0] * shards
        self._live: dict[str, list[Assignment]] = defaultdict(list)  #: by holder, in the order given
        self._ever: dict[str, set[Node]] = defaultdict(set)  #: by holder: all nodes it was ever asked for

    # --- choosing

    @property
    def open(self) -> list[bool]:
        """For each shard, whether it waits for somebody to compute it."""
        out = [not done for done in self._done]
        for assignment in self._all_live():
            for shard in range(*assignment.node):
                out[shard] = False
        return out

    def open_sibling(self, holder: str, chunk: int) -> Node | None:
        """A node that would make a bigger one together with what the worker holds: open as a whole, at most `chunk`."""
        is_open = self.open
        for assignment in self._live[holder]:
            other = sibling(assignment.node, self.shards)
            if other is not None and other.size <= chunk and all(is_open[slice(*other)]):
                return other
        return None

    def choose(self, holder: str, chunk: int) -> Node | None:
        """What this worker had best compute next, at most `chunk` shards; None where nothing is open.

        The sibling of what it holds; else the first chunk of the largest subtree that nobody has touched, so that
        workers stay apart and each one's sums grow as large as possible.
        """
        beside = self.open_sibling(holder, chunk)
        if beside is not None:
            return beside
        node = max(_whole(Node(0, self.shards), self.open), key=lambda n: (n.size, -n.first), default=None)
        while node is not None and node.size > chunk:
            node = children(node)[0]
        return node

    # --- giving, taking back

    def give(self, holder: str, node: Node, now: float, lease: float) -> Assignment:
        """Puts down that the worker was asked for a node (all of it open)."""
        assignment = Assignment(holder, node, self.attempt(node), now, lease, now + lease)
        self._live[holder].append(assignment)
        self._ever[holder].add(node)
        return assignment

    def attempt(self, node: Node) -> int:
        """How often these shards were given up before."""
        return max(self._attempts[slice(*node)])

    def renew(self, holder: str, now: float) -> None:
        """The worker moves: its leases start anew."""
        for assignment in self._live[holder]:
            assignment.expires = now + assignment.lease

    def expired(self, now: float) -> list[Assignment]:
        """The live assignments whose lease is over."""
        return [assignment for assignment in self._all_live() if assignment.expires <= now]

    def give_up(self, assignment: Assignment) -> tuple[int, ...]:
        """The assignment is superseded: its shards that are not done are open again, and returned."""
        self._live[assignment.holder].remove(assignment)
        lost = tuple(shard for shard in range(*assignment.node) if not self._done[shard])
        for shard in lost:
            self._attempts[shard] += 1
        return lost

    def give_up_all(self, holder: str) -> tuple[int, ...]:
        """As `give_up`, for everything the worker holds."""
        return tuple(sorted(shard for a in tuple(self._live[holder]) for shard in self.give_up(a)))

    # --- answers

    def live(self, holder: str) -> int:
        """Number of assignments the worker has not answered."""
        return len(self._live[holder])

    def was_asked(self, holder: str, node: Node) -> bool:
        """Whether whole assignments of this worker, live or superseded, make up the node."""
        asked = {shard for given in self._ever[holder] if _within(given, node) for shard in range(*given)}
        return len(asked) == node.size

    def was_given(self, holder: str, shard: int) -> bool:
        """Whether the worker was ever asked for this shard."""
        return any(node.first <= shard < node.last for node in self._ever[holder])

    def holders(self) -> set[str]:
        """The incarnations that hold something."""
        return {holder for holder, held in self._live.items() if held}

    def answered(self, holder: str, node: Node) -> list[Assignment]:
        """The worker has answered the node: what it held of it is over. Shards not done by then are open again."""
        over = [assignment for assignment in self._live[holder] if _within(assignment.node, node)]
        for assignment in over:
            self._live[holder].remove(assignment)
        return over

    def fill(self, node: Node) -> None:
        """The node's result was accepted: its shards (none done before) are done."""
        for shard in range(*node):
            self._done[shard] = True

    def free(self, node: Node) -> bool:
        """Whether no shard of the node is done."""
        return not any(self._done[slice(*node)])

    @property
    def complete(self) -> bool:
        """Whether all shards are done."""
        return all(self._done)

    def _all_live(self) -> Iterator[Assignment]:
        return (assignment for held in self._live.values() for assignment in held)

    def validate(self, most_live: int) -> None:
        """Every shard that is not done is held at most once; nobody holds more than `most_live` assignments."""
        held = [shard for a in self._all_live() for shard in range(*a.node) if not self._done[shard]]
        assert len(held) == len(set(held)), f"held twice: {held}"
        for holder, assignments in self._live.items():
            assert len(assignments) <= most_live, f"{holder} holds {assignments}"
            assert all(a.holder == holder and a.node in self._ever[holder] for a in assignments)
            assert all(a.since < a.expires for a in assignments)


def _within(inner: Node, outer: Node) -> bool:
    return outer.first <= inner.first and inner.last <= outer.last


def _whole(node: Node, wanted: list[bool]) -> Iterator[Node]:
    """The largest subtrees all of whose shards are wanted."""
    if all(wanted[slice(*node)]):
        yield node
    elif node.size > 1:
        for child in children(node):
            yield from _whole(child, wanted)
