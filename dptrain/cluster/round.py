"""What is kept of the step that was applied last, while another answer about it may come in. Decides nothing."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self, TypeAlias

from dptrain.cluster.codec import params_digest
from dptrain.cluster.doubt import Deaths, Jury, Opinion, audited
from dptrain.cluster.job import Job
from dptrain.cluster.members import Lease, Pace
from dptrain.cluster.messages import Assign, Evaluate, EvaluationDone, NodeDone, Params
from dptrain.cluster.tree import Node, Tree, children, is_node, sibling
from dptrain.loop import add_scores
from dptrain.model import ShardResult, ShardScore
from dptrain.state import TrainingState
from dptrain.types import F32


@dataclass(slots=True)
class Assignment:
    """A node that one incarnation was asked to compute."""

    holder: str  #: incarnation
    node: Node
    attempt: int  #: how often its shards were given up before; the highest one
    since: float
    lease: float  #: seconds of silence allowed
    expires: float
    alone: bool = False  #: one shard, never to become part of a sum
    only: bool = False  #: its holder is to hold nothing else (this shard may kill it)
    begun: bool = False  #: its holder has said that it has it


@dataclass(frozen=True, slots=True)
class Terms:
    """How an assignment is given."""

    lease: float
    alone: bool = False
    only: bool = False
    again: int = 0  #: how often this worker has answered it before: no two asks are alike


class Book:
    """The shards of one round: each is open, held, or done.

    An assignment that is given up (lease over, worker lost) is superseded, but whoever held it may still answer: the
    first valid result wins. Held twice are only shards that are late (one copy) and shards set aside.
    """

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.aside: set[int] = set()  #: shards that are never open: they are given one by one, for a reason
        self._done = [False] * shards
        self._attempts = [0] * shards
        self._live: dict[str, list[Assignment]] = defaultdict(list)  #: by holder, in the order given
        self._ever: dict[str, set[int]] = defaultdict(set)  #: by holder: all shards it was ever asked for
        self._computed: dict[str, set[int]] = defaultdict(set)  #: by holder: shards that wait in it for their siblings
        self._moved: dict[str, float] = {}  #: by holder: when it took up its first assignment, or last finished a shard

    # --- choosing

    @property
    def open(self) -> list[bool]:
        """For each shard, whether it waits for anybody to compute it."""
        out = [not done for done in self._done]
        for assignment in self._all_live():
            for shard in range(*assignment.node):
                out[shard] = False
        for shard in self.aside:
            out[shard] = False
        return out

    def waiting(self, holder: str) -> list[int]:
        """The shards it has still to compute, as far as is known here, in its order: the first one it may be at."""
        mine = [shard for a in self._live[holder] for shard in range(*a.node)]
        over = self._computed[holder]
        return [s for s in mine if not self._done[s] and s not in over and s not in self.aside]

    def open_sibling(self, holder: str, chunk: int, is_open: list[bool]) -> Node | None:
        """A node that would make a bigger one together with what the worker holds: open as a whole, at most `chunk`."""
        for assignment in self._live[holder]:
            other = sibling(assignment.node, self.shards)
            if other is not None and other.size <= chunk and all(is_open[slice(*other)]):
                return other
        return None

    def untouched(self, chunk: int, is_open: list[bool]) -> Node:
        """The first chunk of the largest subtree that nobody has touched, so that workers stay apart and each one's
        sums grow as large as possible. Something must be open.
        """
        node = max(_whole(Node(0, self.shards), is_open), key=lambda n: (n.size, -n.first))
        while node.size > chunk:
            node = children(node)[0]
        return node

    # --- giving, taking back

    def give(self, holder: str, node: Node, now: float, terms: Terms) -> Assignment:
        """Puts down that the worker was asked for a node."""
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

    def give_up_all(self, holder: str, shard: int | None = None) -> tuple[int, ...]:
        """As `give_up`, for everything the worker holds (of which `shard` is a part, if given)."""
        mine = [a for a in self._live[holder] if shard is None or shard in range(*a.node)]
        return tuple(sorted({lost for a in mine for lost in self.give_up(a)}))

    # --- answers

    def live(self, holder: str) -> int:
        """Number of assignments the worker has not answered."""
        return len(self._live[holder])

    def held(self, holder: str) -> tuple[int, ...]:
        """The shards of these."""
        return tuple(sorted({shard for a in self._live[holder] for shard in range(*a.node)}))

    def holds_only(self, holder: str) -> bool:
        """Whether the worker holds a shard beside which it may hold no other."""
        return any(a.only for a in self._live[holder])

    def holding(self, shard: int) -> set[str]:
        """Who holds the shard."""
        return {a.holder for a in self._all_live() if shard in range(*a.node)}

    def moved(self, holder: str) -> float:
        """When a worker that holds something took up the first of it, or last finished a shard."""
        return self._moved[holder]

    def news(self, holder: str, shard: int, *, done: bool) -> bool:
        """The worker has taken up the assignment that begins with the shard, or is `done` with the shard and will send
        it as a part of a sum. Whether it holds that, and says so for the first time.
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
        return self._ever[holder] >= set(range(*node))

    def was_used(self, holder: str) -> bool:
        """Whether the worker was ever asked for anything."""
        return bool(self._ever.get(holder))

    def holders(self) -> set[str]:
        """The incarnations that hold something."""
        return {holder for holder, held in self._live.items() if held}

    def answered(self, holder: str, node: Node) -> list[Assignment]:
        """The worker has answered the node: what it held of it is over. Shards not done by then are open again."""
        over = [assignment for assignment in self._live[holder] if _within(assignment.node, node)]
        for assignment in over:
            self._live[holder].remove(assignment)
        return over

    def fill(self, node: Node, holder: str) -> None:
        """The holder's result of the node was accepted: its shards (none done before) are done.

        Who else holds some of them still does: it is busy with them.
        """
        for shard in range(*node):
            self._done[shard] = True
        self.aside.difference_update(range(*node))
        self._live[holder] = [a for a in self._live[holder] if not all(self._done[slice(*a.node)])]

    def inherit(self, old: Book) -> None:
        """The round is begun anew: whoever was asked before may still answer."""
        self._ever, self._moved, self._attempts = old._ever, old._moved, old._attempts

    def contested(self, node: Node) -> bool:
        """Whether somebody else than the one whose result is taken may still answer a part of it."""
        return any(len([h for h in self._ever.values() if shard in h]) > 1 for shard in range(*node))

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
        """Shards are held at most once, late ones twice; nobody holds more than `most_live` assignments."""
        for shard in range(self.shards):
            assert self._done[shard] or shard in self.aside or len(self.holding(shard)) <= 2, f"{shard} is held thrice"
        for holder, assignments in self._live.items():
            assert len(assignments) <= most_live, f"{holder} holds {assignments}"
            assert not self.holds_only(holder) or len(assignments) == 1
            assert all(a.holder == holder and self.was_asked(holder, a.node) for a in assignments)
            assert all(a.since < a.expires for a in assignments)
        assert not any(self._done[shard] for shard in self.aside)


def _within(inner: Node, outer: Node) -> bool:
    return outer.first <= inner.first and inner.last <= outer.last


def _whole(node: Node, wanted: list[bool]) -> Iterator[Node]:
    """The largest subtrees all of whose shards are wanted."""
    if all(wanted[slice(*node)]):
        yield node
    elif node.size > 1:
        for child in children(node):
            yield from _whole(child, wanted)


def snapshot(term: int, step: int, params: F32, buffers: F32) -> Params:
    """Params with copies: frames may still wait in a socket when the weights change."""
    return Params(term, step, params_digest(params), params.copy(), buffers.copy())


class StepRound:
    """The gradient of one step."""

    def __init__(self, job: Job, state: TrainingState, lease: Lease, pace: Pace) -> None:
        self.term, self.step, self.lease, self.pace = job.term, state.step, lease, pace
        shards = job.course.sampler.shards(self.step)
        self._ids = [job.course.sampler.shard(self.step, index) for index in range(shards)]
        self.params = snapshot(job.term, state.step, state.params, state.buffers)
        self.book, self.deaths = Book(shards), Deaths()
        self.jury: Jury[ShardResult] = Jury(s for s in range(shards) if audited(job.identity, self.step, s, job.audit))
        self.firsts: dict[Node, Opinion[ShardResult]] = {}  #: of nodes somebody else may still answer; without values
        self.tree: Tree[ShardResult] = Tree(shards)
        self.seconds: dict[str, float] = {}  #: compute time by worker name

    @property
    def title(self) -> str:
        """For notices."""
        return f"step {self.step + 1}"

    def samples_of(self, shard: int) -> str:
        """Which samples a shard is made of, for people."""
        return "training samples " + ", ".join(map(str, self._ids[shard].tolist()))

    def chunk(self, workers: int) -> int:
        """Most shards of one assignment: two assignments a worker, rounded down to a power of two."""
        return 1 << (max(1, self.book.shards // (2 * max(1, workers))).bit_length() - 1)

    def order(self, a: Assignment) -> Assign:
        """What the holder is sent."""
        first, last = a.node
        digest, shards = self.params.digest, self.book.shards
        return Assign(self.term, self.step, first, last, a.attempt, digest, shards, int(a.alone))

    def apart(self, node: Node) -> Assign:
        """What whoever holds a shard is sent when somebody else gets it too: no sum may depend on who is first."""
        return Assign(self.term, self.step, *node, self.book.attempt(node), self.params.digest, self.book.shards, 1)

    def fault(self, m: NodeDone) -> str:
        """Why this answer cannot have come from a sound worker; "" where it can."""
        if not is_node(m.first, m.last, self.book.shards):
            return f"sent shards [{m.first}, {m.last}): no node of a step of {self.book.shards} shards"
        fault = self.params_fault(m.digest)
        if fault:
            return fault
        for name, got, wanted in (
            ("gradient", m.result.gradient.shape, self.params.params.shape),
            ("statistics", m.result.statistics.shape, self.params.buffers.shape),
        ):
            if got != wanted:
                return f"sent {name} of shape {got}; the model has {wanted}"
        samples = sum(map(len, self._ids[m.first : m.last]))
        counted, hits = m.result.samples, m.result.hits
        if counted != samples:
            return f"counted {counted} samples in shards [{m.first}, {m.last}); there are {samples}"
        return f"counted {hits} hits among {samples} samples" if hits > samples else ""

    def params_fault(self, digest: str) -> str:
        """Why an answer made with these parameters is no answer; "" where it is one."""
        if digest == self.params.digest:
            return ""
        return f"computed with parameters {digest[:16]}; those of step {self.step} are {self.params.digest}"

    def accept(self, node: Node, found: Opinion[ShardResult]) -> None:
        """Takes a result in."""
        assert found.value is not None
        if self.book.contested(node):
            digest = found.digest or found.value.digest()
            self.firsts[node] = Opinion(found.incarnation, found.name, found.attempt, digest, None)
        self.book.fill(node, found.incarnation)
        self.tree.add(*node, found.value)

    def begin_anew(self, old: StepRound, node: Node, found: Iterable[Opinion[ShardResult]]) -> None:
        """Takes over from a round in which two workers found different things in a node."""
        self.book.inherit(old.book)
        self.deaths, self.seconds = old.deaths, old.seconds
        self.jury.doubt(old.jury.doubtful)
        self.doubt(node, found)

    def doubt(self, node: Node, found: Iterable[Opinion[ShardResult]]) -> None:
        """Two workers found different things in a node: each of its shards must be found twice."""
        self.jury.doubt(range(*node))
        if node.size == 1:
            for opinion in found:
                self.jury.hear(node.first, opinion)

    def validate(self) -> None:
        """What is done is what lies in the tree; what is doubtful is not done."""
        in_tree = {shard for node in self.tree.nodes() for shard in range(*node)}
        assert all(self.book.free(Node(s, s + 1)) != (s in in_tree) for s in range(self.book.shards))
        assert not in_tree & set(self.jury.doubtful)


class ScoreRound:
    """The score of one split."""

    def __init__(self, job: Job, state: TrainingState, split: str, speed: tuple[Lease, Pace]) -> None:
        self.term, self.step, self.split = job.term, state.step, split
        self.lease, self.pace = speed
        self._parts = list(job.course.parts(split))
        params, buffers = state.weights_for(split)
        self.weights_of = state.step if params is state.params else state.best_step  #: the step they come from
        self.params = snapshot(job.term, state.step, params, buffers)
        self.book, self.deaths = Book(len(self._parts)), Deaths()
        self.jury: Jury[EvaluationDone] = Jury()
        self.firsts: dict[Node, Opinion[EvaluationDone]] = {}
        self._answers: dict[int, EvaluationDone] = {}

    @property
    def title(self) -> str:
        """For notices."""
        return f"the {self.split} split after step {self.step}"

    def samples_of(self, shard: int) -> str:
        """Which samples a shard is made of, for people."""
        _, start, stop = self._parts[shard]
        return f"samples {start} to {stop - 1} of the {self.split} split"

    def chunk(self, workers: int) -> int:
        """Nothing is gained by asking for more than one: counts are small."""
        return 1

    def order(self, a: Assignment) -> Evaluate:
        """What the holder is sent."""
        _, start, stop = self._parts[a.node.first]
        return Evaluate(self.term, self.step, self.split, a.node.first, start, stop, a.attempt, self.params.digest)

    def apart(self, node: Node) -> None:
        """Nothing is summed by the workers."""

    def fault(self, m: EvaluationDone) -> str:
        """Why this answer cannot have come from a sound worker; "" where it can."""
        if m.index >= self.book.shards:
            return f"scored shard {m.index} of the {self.split} split; it has {self.book.shards}"
        if m.digest != self.params.digest:
            return f"scored parameters {m.digest[:16]}; those of {self.title} are {self.params.digest}"
        _, start, stop = self._parts[m.index]
        if m.samples != stop - start:
            return f"scored {m.samples} samples in shard {m.index} of the {self.split} split; there are {stop - start}"
        if not m.hits <= m.hits5 <= m.samples:
            return f"counted {m.hits} hits and {m.hits5} among the first five in {m.samples} samples"
        return ""

    def accept(self, node: Node, found: Opinion[EvaluationDone]) -> None:
        """Takes an answer in."""
        assert found.value is not None
        if self.book.contested(node):
            digest = score_digest(found.value)
            self.firsts[node] = Opinion(found.incarnation, found.name, found.attempt, digest, found.value)
        self.book.fill(node, found.incarnation)
        self._answers[node.first] = found.value

    def begin_anew(self, old: ScoreRound, node: Node, found: Iterable[Opinion[EvaluationDone]]) -> None:
        """Takes over from a round in which two workers counted differently."""
        self.book.inherit(old.book)
        self.deaths = old.deaths
        self.jury.doubt([*old.jury.doubtful, *range(*node)])
        for opinion in found:
            self.jury.hear(node.first, opinion)

    def total(self) -> ShardScore:
        """The score of the split. Only when complete."""
        answers = (self._answers[index] for index in range(self.book.shards))
        return add_scores(ShardScore(a.samples, a.hits, a.hits5, a.loss) for a in answers)

    def validate(self) -> None:
        """What is done is what has an answer."""
        assert all(self.book.free(Node(s, s + 1)) != (s in self._answers) for s in range(self.book.shards))
        assert not self._answers.keys() & set(self.jury.doubtful)


Round: TypeAlias = StepRound | ScoreRound


def score_digest(m: EvaluationDone) -> str:
    """Equal digests mean equal counts and the same bits of the loss."""
    return hashlib.sha256(f"{m.samples} {m.hits} {m.hits5} {m.loss.hex()}".encode()).hexdigest()


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
