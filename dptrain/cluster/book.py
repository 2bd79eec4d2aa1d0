"""One round: which worker holds which shards, which shards are open or done, and on which ones workers died."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from dptrain.cluster.tree import Node, children, sibling

DEATHS = 3  #: different workers that died on one shard end the run ...
WAIT = (
    10.0  #: ... this many seconds after the last death, unless a worker comes back. No worker gets the shard meanwhile
)


@dataclass(slots=True)
class Assignment:
    """A node that one worker was asked to compute."""

    holder: str  #: incarnation
    node: Node
    attempt: int  #: how often its shards were given up before; the highest one
    since: float
    lease: float  #: seconds of silence allowed
    expires: float
    alone: bool = False  #: one shard, never to become part of a sum
    only: bool = False  #: its holder holds nothing else: this shard may kill it
    begun: bool = False  #: its holder has confirmed it


@dataclass(frozen=True, slots=True)
class Terms:
    """How an assignment is given."""

    lease: float
    alone: bool = False
    only: bool = False
    again: int = 0  #: how often this worker has answered it before: no two requests have the same attempt


class Book:
    """The shards of one round: each is open, held, or done.

    An assignment that is given up (its lease is over, its worker is lost) is superseded, but its holder may still
    answer: the first valid result wins. Two workers hold the same shard only where it is late, or set aside.
    """

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self._done = [False] * shards
        self._attempts = [0] * shards
        self._live: dict[str, list[Assignment]] = defaultdict(list)  #: by holder, in the order given
        self._ever: dict[str, set[int]] = defaultdict(set)  #: by holder: all shards it was ever asked for
        self._computed: dict[str, set[int]] = defaultdict(set)  #: by holder: shards that wait in it for their siblings
        self._moved: dict[str, float] = {}  #: by holder: when it took up its first assignment, or last finished a shard

    # --- choosing

    def open(self, aside: AbstractSet[int] = frozenset()) -> list[bool]:
        """For each shard, whether it waits for a worker. aside: shards that are given one by one (`Round.aside`)."""
        out = [not done for done in self._done]
        for assignment in self._all_live():
            for shard in range(*assignment.node):
                out[shard] = False
        for shard in aside:
            out[shard] = False
        return out

    def waiting(self, holder: str, aside: AbstractSet[int] = frozenset()) -> list[int]:
        """The shards it still has to compute, as far as is known here, in its order: it may be computing the first."""
        mine = [shard for a in self._of(holder) for shard in range(*a.node)]
        over = self._computed.get(holder, ())
        return [s for s in mine if not self._done[s] and s not in over and s not in aside]

    def open_sibling(self, holder: str, chunk: int, is_open: list[bool]) -> Node | None:
        """An open node of at most `chunk` shards that the worker could add to a node it holds."""
        for assignment in self._of(holder):
            other = sibling(assignment.node, self.shards)
            if other is not None and other.size <= chunk and all(is_open[slice(*other)]):
                return other
        return None

    def untouched(self, chunk: int, is_open: list[bool]) -> Node:
        """The first chunk of the largest open subtree: so workers stay apart, and their sums grow as large as possible.

        At least one shard must be open.
        """
        node = max(_whole(Node(0, self.shards), is_open), key=lambda n: (n.size, -n.first))
        while node.size > chunk:
            node = children(node)[0]
        return node

    # --- giving, taking back

    def give(self, holder: str, node: Node, now: float, terms: Terms) -> Assignment:
        """Notes that the worker was asked for a node."""
        lease, attempt = terms.lease, self.attempt(node) + terms.again
        assignment = Assignment(holder, node, attempt, now, lease, now + lease, terms.alone, terms.only)
        if not self._live[holder]:
            self._moved[holder] = now
        self._live[holder].append(assignment)
        self._computed[holder].difference_update(range(*node))
        self._ever[holder].update(range(*node))
        return assignment

    def attempt(self, node: Node) -> int:
        """How often these shards were given up before."""
        return max(self._attempts[slice(*node)])

    def renew(self, holder: str, now: float) -> None:
        """There is news of the worker: its leases start again."""
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

    def give_up_all(self, holder: str, shard: int | None = None) -> tuple[int, ...]:
        """As `give_up`, for everything the worker holds (of which `shard` is a part, if given)."""
        mine = [a for a in self._live[holder] if shard is None or shard in range(*a.node)]
        return tuple(sorted({lost for a in mine for lost in self.give_up(a)}))

    # --- answers

    def live(self, holder: str) -> int:
        """Number of assignments the worker has not answered."""
        return len(self._of(holder))

    def held(self, holder: str) -> tuple[int, ...]:
        """The shards of these."""
        return tuple(sorted({shard for a in self._of(holder) for shard in range(*a.node)}))

    def holds_only(self, holder: str) -> bool:
        """Whether the worker holds a shard beside which it may hold no other."""
        return any(a.only for a in self._of(holder))

    def holding(self, shard: int) -> set[str]:
        """Who holds the shard."""
        return {a.holder for a in self._all_live() if shard in range(*a.node)}

    def moved(self, holder: str) -> float:
        """When a worker that holds something took up the first of it, or last finished a shard."""
        return self._moved[holder]

    def news(self, holder: str, shard: int, *, done: bool) -> bool:
        """The worker confirms the assignment that begins with the shard, or is `done` with the shard, which it sends
        as a part of a sum. Returns whether it holds that and reports it for the first time.
        """
        for assignment in self._live[holder]:
            if done and shard in range(*assignment.node) and shard not in self._computed[holder]:
                self._computed[holder].add(shard)
                return True
            if not done and shard == assignment.node.first and not assignment.begun:
                assignment.begun = True
                return True
        return False

    def finished_one(self, holder: str, now: float) -> float:
        """The worker has finished one more shard; returns the seconds since the one before."""
        seconds = now - self._moved.get(holder, now)
        self._moved[holder] = now
        return seconds

    def was_asked(self, holder: str, node: Node) -> bool:
        """Whether the worker was ever asked for all shards of the node."""
        return self._ever.get(holder, set()) >= set(range(*node))

    def was_used(self, holder: str) -> bool:
        """Whether the worker was ever asked for anything."""
        return bool(self._ever.get(holder))

    def holders(self) -> set[str]:
        """The incarnations that hold something."""
        return {holder for holder, held in self._live.items() if held}

    def answered(self, holder: str, node: Node) -> list[Assignment]:
        """The worker has answered the node: removes what it held of it. Shards that are not done are open again."""
        over = [assignment for assignment in self._live[holder] if _within(assignment.node, node)]
        for assignment in over:
            self._live[holder].remove(assignment)
        return over

    def fill(self, node: Node, holder: str) -> None:
        """The holder's result of the node was accepted: its shards (none done before) are done.

        Another worker that holds some of them keeps them: it is computing them.
        """
        for shard in range(*node):
            self._done[shard] = True
        self._live[holder] = [a for a in self._live[holder] if not all(self._done[slice(*a.node)])]

    def inherit(self, old: Book) -> None:
        """The round starts over: workers that were asked before may still answer."""
        self._ever, self._moved, self._attempts = old._ever, old._moved, old._attempts

    def contested(self, node: Node) -> bool:
        """Whether a second worker was asked for a part of the node, and may still answer."""
        return any(len([h for h in self._ever.values() if shard in h]) > 1 for shard in range(*node))

    def free(self, node: Node) -> bool:
        """Whether no shard of the node is done."""
        return not any(self._done[slice(*node)])

    @property
    def complete(self) -> bool:
        """Whether all shards are done."""
        return all(self._done)

    def _of(self, holder: str) -> Sequence[Assignment]:
        return self._live.get(holder, ())

    def _all_live(self) -> Iterator[Assignment]:
        return (assignment for held in self._live.values() for assignment in held)

    def validate(self, most_live: int, aside: AbstractSet[int] = frozenset()) -> None:
        """Asserts: no shard is held three times, no worker holds more than `most_live` assignments."""
        for shard in range(self.shards):
            assert self._done[shard] or shard in aside or len(self.holding(shard)) <= 2, f"{shard} is held thrice"
        for holder, assignments in self._live.items():
            assert len(assignments) <= most_live, f"{holder} holds {assignments}"
            assert not self.holds_only(holder) or len(assignments) == 1
            assert all(a.holder == holder and self.was_asked(holder, a.node) for a in assignments)
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


@dataclass(frozen=True, slots=True)
class Death:
    """One worker that has died."""

    incarnation: str
    name: str
    when: float


class Deaths:
    """Which workers died while they held which shards of one round."""

    def __init__(self) -> None:
        self._by_shard: dict[int, dict[str, Death]] = {}

    def add(self, shards: Iterable[int], death: Death) -> None:
        """A worker died while it held these shards."""
        for shard in shards:
            self._by_shard.setdefault(shard, {})[death.incarnation] = death

    def forgive(self, incarnation: str) -> None:
        """The worker was killed from outside, or it lives: no shard was to blame."""
        for deaths in self._by_shard.values():
            deaths.pop(incarnation, None)

    @property
    def suspicious(self) -> tuple[int, ...]:
        """Shards that a worker died on."""
        return tuple(sorted(shard for shard, deaths in self._by_shard.items() if deaths))

    def waits(self, shard: int) -> bool:
        """Whether no worker may get the shard any more: enough have died on it."""
        return len(self._by_shard.get(shard, ())) >= DEATHS

    def condemned(self, now: float) -> tuple[int, tuple[str, ...]] | None:
        """A shard on which DEATHS workers died, and their names; None while there is none, or it is too early."""
        for shard, deaths in sorted(self._by_shard.items()):
            if len(deaths) >= DEATHS and now >= max(d.when for d in deaths.values()) + WAIT:
                return shard, tuple(d.name for d in deaths.values())
        return None

    def done(self, shards: Iterable[int]) -> None:
        """A worker has computed them and lives."""
        for shard in shards:
            self._by_shard.pop(shard, None)
