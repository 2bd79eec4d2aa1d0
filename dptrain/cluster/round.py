"""A round: one step, or the score of one split. Its shards, the results that the workers found, and their sum.

Decides whether a result counts. Sends nothing: `Coordinator` gives the shards to workers, and hands in their answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Self, TypeAlias

from dptrain.cluster.book import Assignment, Book, Deaths
from dptrain.cluster.codec import params_digest
from dptrain.cluster.doubt import Jury, Opinion, R, audited
from dptrain.cluster.job import Job
from dptrain.cluster.members import Lease, Pace
from dptrain.cluster.messages import Assign, Evaluate, EvaluationDone, NodeDone, NonFinite, Params
from dptrain.cluster.tree import Node, Tree, is_node
from dptrain.loop import add_scores
from dptrain.model import ShardResult, ShardScore
from dptrain.state import TrainingState
from dptrain.types import F32


@dataclass(slots=True)
class Counters:
    """Valid messages that changed nothing, and what was compared."""

    outdated: int = 0  #: of an earlier term, step or split
    duplicate: int = 0  #: of shards that were done already
    disputed: int = 0  #: outdated results other than those that had been applied: a step was taken back
    agreed: int = 0  #: second results that were the same as the first, bit for bit
    unaudited: int = 0  #: shards that were to be audited while there was only one worker
    quarantined: int = 0  #: workers whose result differed from that of two others


def snapshot(term: int, step: int, params: F32, buffers: F32) -> Params:
    """The weights as a message, copied: its frames may still wait in a socket when the weights change."""
    return Params(term, step, params_digest(params), params.copy(), buffers.copy())


class _Round(Generic[R]):
    """What steps and scores have in common."""

    _keeps_values = False  #: whether a result that a second worker may contradict is kept, or only its digest

    def __init__(self, params: Params, shards: int, lease: Lease, pace: Pace) -> None:
        self.term, self.step, self.params = params.term, params.step, params
        self.lease, self.pace = lease, pace
        self.book, self.deaths = Book(shards), Deaths()
        self.jury: Jury[R] = Jury()
        self.firsts: dict[Node, Opinion[R]] = {}  #: of nodes that a second worker may still answer
        self.seconds: dict[str, float] = {}  #: compute time by worker name

    @property
    def aside(self) -> set[int]:
        """Shards that are never open: the doubtful ones, and those that workers died on. They are given one by one."""
        return {s for s in (*self.jury.doubtful, *self.deaths.suspicious) if self.book.free(Node(s, s + 1))}

    def heard(self, holder: str, node: Node, now: float) -> bool:
        """A worker has answered a node: ends what it held of it and renews its other leases. Whether that was news."""
        book = self.book
        parts = [shard for shard in range(*node) if book.news(holder, shard, done=True)]
        answered = book.answered(holder, node)
        news = bool(parts or answered or book.free(node))  # a repetition proves nothing
        if news:
            self.pace.observe(holder, book.finished_one(holder, now))
            book.renew(holder, now)
        for over in answered:
            self.lease.observe(now - over.since, over.node.size)
        self.deaths.done(range(*node))
        return news

    def take(self, node: Node, opinion: Opinion[R], counters: Counters) -> list[Opinion[R]]:
        """A valid result: it counts, or is compared with the one that counts, or is one opinion on a doubtful shard.

        Returns the two opinions where this one contradicts the one that counts.
        """
        doubtful = set(self.jury.doubtful).intersection(range(*node))
        if not self.book.free(node):  # a free audit, where it is a result of the very same node
            counters.duplicate += 1
            return contradiction(self.firsts.get(node), opinion, counters)
        if opinion.fault and not doubtful:
            self.jury.doubt(range(*node))  # of a sum: each of its shards; of a shard: this one
            doubtful = set(range(*node))
        if node.size > 1 and doubtful:
            counters.duplicate += 1  # its shards are to be found one by one
        elif doubtful:
            counters.duplicate += not self.jury.hear(node.first, opinion)
        else:
            self.accept(node, opinion)
        return []

    def accept(self, node: Node, found: Opinion[R]) -> None:
        """The result counts."""
        assert found.value is not None
        if self.book.contested(node):
            self.firsts[node] = found if self._keeps_values else found.without_value()
        self.book.fill(node, found.incarnation)
        self._add(node, found.value)

    def _add(self, node: Node, value: R) -> None:
        raise NotImplementedError

    def inherit(self, old: Self) -> None:
        """Takes over from a round that starts over, because two workers found different bits."""
        self.book.inherit(old.book)
        self.deaths, self.seconds = old.deaths, old.seconds
        self.jury.doubt(old.jury.doubtful)

    def doubt(self, node: Node, found: Iterable[Opinion[R]]) -> None:
        """Two workers found different bits in a node: two workers must agree on each of its shards."""
        self.jury.doubt(range(*node))
        if node.size == 1:
            for opinion in found:
                self.jury.hear(node.first, opinion)

    def close(self, ready: Iterable[str], now: float) -> None:
        """The round is complete: measures the workers that are still busy with it, and those that got nothing of it."""
        for holder in self.book.holders():
            self.pace.at_least(holder, now - self.book.moved(holder))
        for holder in ready:
            if not self.book.was_used(holder):
                self.pace.rested(holder)

    def _with_result(self) -> set[int]:
        """The shards whose result counts."""
        raise NotImplementedError

    def validate(self) -> None:
        """Asserts: the shards that are done are those with a result, and no doubtful one."""
        done = self._with_result()
        assert all(self.book.free(Node(s, s + 1)) != (s in done) for s in range(self.book.shards))
        assert not done & set(self.jury.doubtful)


class StepRound(_Round[ShardResult]):
    """The gradient of one step."""

    phase = "train"

    def __init__(self, job: Job, state: TrainingState, lease: Lease, pace: Pace) -> None:
        sampler = job.course.sampler
        shards = sampler.shards(state.step)
        super().__init__(snapshot(job.term, state.step, state.params, state.buffers), shards, lease, pace)
        self._ids = [sampler.shard(self.step, index) for index in range(shards)]
        self.jury = Jury(s for s in range(shards) if audited(job.identity, self.step, s, job.audit))
        self.tree: Tree[ShardResult] = Tree(shards)

    @property
    def title(self) -> str:
        """For notices."""
        return f"step {self.step + 1}"

    def samples_of(self, shard: int) -> str:
        """Which images make up a shard, for a notice."""
        return "training samples " + ", ".join(map(str, self._ids[shard].tolist()))

    def chunk(self, workers: int) -> int:
        """Most shards of one assignment: two assignments per worker, rounded down to a power of two."""
        return 1 << (max(1, self.book.shards // (2 * max(1, workers))).bit_length() - 1)

    def order(self, a: Assignment) -> Assign:
        """The message to the holder."""
        return Assign(self.term, self.step, *a.node, a.attempt, self.params.digest, self.book.shards, int(a.alone))

    def apart(self, node: Node) -> Assign:
        """The message to the holder of a shard that a second worker gets too: it sends the shard by itself, since no
        sum may depend on which of the two is first.
        """
        return Assign(self.term, self.step, *node, self.book.attempt(node), self.params.digest, self.book.shards, 1)

    def fault(self, m: NodeDone | NonFinite, node: Node) -> str:
        """Why no correct worker sends this answer about the node; "": one may."""
        if not is_node(*node, self.book.shards):
            return f"sent shards [{node.first}, {node.last}): no node of a step of {self.book.shards} shards"
        if m.digest != self.params.digest:
            return f"computed with parameters {m.digest[:16]}; those of step {self.step} are {self.params.digest}"
        if isinstance(m, NodeDone) and (fault := self._sum_fault(m.result, node)):
            return fault
        asked = self.book.was_asked(m.incarnation, node)
        return "" if asked else f"sent {node} of step {m.step}, which it was not asked for"

    def _sum_fault(self, found: ShardResult, node: Node) -> str:
        for name, got, wanted in (
            ("gradient", found.gradient.shape, self.params.params.shape),
            ("statistics", found.statistics.shape, self.params.buffers.shape),
        ):
            if got != wanted:
                return f"sent {name} of shape {got}; the model has {wanted}"
        samples = sum(map(len, self._ids[node.first : node.last]))
        if found.samples != samples:
            return f"counted {found.samples} samples in shards [{node.first}, {node.last}); there are {samples}"
        return f"counted {found.hits} hits among {samples} samples" if found.hits > samples else ""

    def _add(self, node: Node, value: ShardResult) -> None:
        self.tree.add(*node, value)

    def _with_result(self) -> set[int]:
        return {shard for node in self.tree.nodes() for shard in range(*node)}


class ScoreRound(_Round[ShardScore]):
    """The score of one split."""

    _keeps_values = True

    def __init__(self, job: Job, state: TrainingState, split: str, lease: Lease, pace: Pace) -> None:
        self._parts = list(job.course.parts(split))
        weights = state.weights_for(split)
        super().__init__(snapshot(job.term, state.step, *weights), len(self._parts), lease, pace)
        self.phase = split
        self.weights_of = state.step if weights[0] is state.params else state.best_step  #: the step they come from
        self._scores: dict[int, ShardScore] = {}

    @property
    def title(self) -> str:
        """For notices."""
        return f"the {self.phase} split after step {self.step}"

    def samples_of(self, shard: int) -> str:
        """Which images make up a shard, for a notice."""
        _, start, stop = self._parts[shard]
        return f"samples {start} to {stop - 1} of the {self.phase} split"

    def chunk(self, workers: int) -> int:
        """One: scores are small, nothing is gained by sending several at once."""
        return 1

    def order(self, a: Assignment) -> Evaluate:
        """The message to the holder."""
        split, start, stop = self._parts[a.node.first]
        return Evaluate(self.term, self.step, split, a.node.first, start, stop, a.attempt, self.params.digest)

    def apart(self, node: Node) -> None:
        """No message: workers add no scores up."""

    def fault(self, m: EvaluationDone) -> str:
        """Why no correct worker sends this answer; "": one may."""
        found = m.result
        if m.index >= self.book.shards:
            return f"scored shard {m.index} of the {self.phase} split; it has {self.book.shards}"
        if m.digest != self.params.digest:
            return f"scored parameters {m.digest[:16]}; those of {self.title} are {self.params.digest}"
        _, start, stop = self._parts[m.index]
        if found.samples != stop - start:
            there = f"there are {stop - start}"
            return f"scored {found.samples} samples in shard {m.index} of the {self.phase} split; {there}"
        if not found.hits <= found.hits5 <= found.samples:
            return f"counted {found.hits} hits and {found.hits5} among the first five in {found.samples} samples"
        asked = self.book.was_asked(m.incarnation, Node(m.index, m.index + 1))
        return "" if asked else f"scored shard {m.index} of {m.split}, which it was not asked for"

    def _add(self, node: Node, value: ShardScore) -> None:
        self._scores[node.first] = value

    def total(self) -> ShardScore:
        """The score of the split. Only when complete."""
        return add_scores(self._scores[index] for index in range(self.book.shards))

    def _with_result(self) -> set[int]:
        return set(self._scores)


Round: TypeAlias = StepRound | ScoreRound


def contradiction(first: Opinion[R] | None, opinion: Opinion[R], counters: Counters) -> list[Opinion[R]]:
    """Both, where another worker had found other bits of the same node; nothing where they agree or cannot say."""
    if first is None or first.incarnation == opinion.incarnation:
        return []
    if first.digest == opinion.digest:
        counters.agreed += 1
        return []
    return [first, opinion]


@dataclass(frozen=True, slots=True)
class Applied:
    """The step that was applied last: its round, for answers that are still to come, and the way back."""

    done: StepRound
    before: TrainingState  #: copies of all that the update changes

    @classmethod
    def of(cls, done: StepRound, state: TrainingState) -> Self | None:
        """A complete round about to be applied to `state`; None where no second answer can come any more."""
        if not done.firsts:
            return None
        return cls(done, state.copied())

    def first(self, step: int, digest: str, node: Node) -> Opinion[ShardResult] | None:
        """The result that counted for this node of this step; None where it is not known."""
        done = self.done
        return done.firsts.get(node) if (step, digest) == (done.step, done.params.digest) else None
