"""The two kinds of round the workers are led through: the shards of a step, and the shards of a split being scored.

A round knows what to ask for, which answers are possible at all, and what they add up to. Who is asked is `Book`'s
business, which of two answers is right `Jury`'s; what follows a complete round is `Course`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

from dptrain.cluster.assignment import Assignment, Book
from dptrain.cluster.job import Job
from dptrain.cluster.jury import Jury, Opinion, audited
from dptrain.cluster.lease import Lease
from dptrain.cluster.pace import Pace
from dptrain.cluster.poison import Deaths
from dptrain.cluster.state import TrainingState
from dptrain.cluster.tree import Node, Tree, is_node
from dptrain.model import ShardResult
from dptrain.types import F32
from dptrain.wire.checksum import params_digest
from dptrain.wire.messages import Assign, Evaluate, EvaluationDone, NodeDone, Params


def snapshot(term: int, step: int, params: F32, buffers: F32) -> Params:
    """Params with copies: frames may still wait in a socket when the weights change."""
    return Params(term, step, params_digest(params), params.copy(), buffers.copy())


class StepRound:
    """The gradient of one step."""

    def __init__(self, job: Job, state: TrainingState, lease: Lease, pace: Pace) -> None:
        self.term, self.step, self.lease, self.pace = job.term, state.step, lease, pace
        shards = job.sampler.shards(self.step)
        self._ids = [job.sampler.shard(self.step, index) for index in range(shards)]
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
            ("gradient", m.gradient.shape, self.params.params.shape),
            ("statistics", m.statistics.shape, self.params.buffers.shape),
        ):
            if got != wanted:
                return f"sent {name} of shape {got}; the model has {wanted}"
        samples = sum(map(len, self._ids[m.first : m.last]))
        if m.samples != samples:
            return f"counted {m.samples} samples in shards [{m.first}, {m.last}); there are {samples}"
        return f"counted {m.hits} hits among {samples} samples" if m.hits > samples else ""

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
        self.samples = job.evaluations.validation if split == "validation" else job.evaluations.test
        self._shard = job.evaluations.shard
        self.best = split == "test" and state.best_accuracy >= 0  #: scored with the best weights on validation
        params, buffers = (state.best_params, state.best_buffers) if self.best else (state.params, state.buffers)
        self.params = snapshot(job.term, state.step, params, buffers)
        self.book, self.deaths = Book(-(-self.samples // self._shard)), Deaths()
        self.jury: Jury[EvaluationDone] = Jury()
        self.firsts: dict[Node, Opinion[EvaluationDone]] = {}
        self._answers: dict[int, EvaluationDone] = {}

    @property
    def title(self) -> str:
        """For notices."""
        return f"the {self.split} split after step {self.step}"

    def samples_of(self, shard: int) -> str:
        """Which samples a shard is made of, for people."""
        start, stop = self._range(shard)
        return f"samples {start} to {stop - 1} of the {self.split} split"

    def chunk(self, workers: int) -> int:  # noqa: ARG002  # same signature as StepRound's
        """Nothing is gained by asking for more than one: counts are small."""
        return 1

    def _range(self, index: int) -> tuple[int, int]:
        return index * self._shard, min((index + 1) * self._shard, self.samples)

    def order(self, a: Assignment) -> Evaluate:
        """What the holder is sent."""
        start, stop = self._range(a.node.first)
        return Evaluate(self.term, self.step, self.split, a.node.first, start, stop, a.attempt, self.params.digest)

    def apart(self, node: Node) -> None:  # same signature as StepRound's
        """Nothing is summed by the workers."""

    def fault(self, m: EvaluationDone) -> str:
        """Why this answer cannot have come from a sound worker; "" where it can."""
        if m.index >= self.book.shards:
            return f"scored shard {m.index} of the {self.split} split; it has {self.book.shards}"
        if m.digest != self.params.digest:
            return f"scored parameters {m.digest[:16]}; those of {self.title} are {self.params.digest}"
        start, stop = self._range(m.index)
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

    def totals(self) -> tuple[float, int, int]:
        """Loss, hits, hits among five, each summed in the order of the shards. Only when complete."""
        loss, hits, hits5 = 0.0, 0, 0
        for index in range(self.book.shards):
            answer = self._answers[index]
            loss, hits, hits5 = loss + answer.loss, hits + answer.hits, hits5 + answer.hits5
        return loss, hits, hits5

    def validate(self) -> None:
        """What is done is what has an answer."""
        assert all(self.book.free(Node(s, s + 1)) != (s in self._answers) for s in range(self.book.shards))
        assert not self._answers.keys() & set(self.jury.doubtful)


Round: TypeAlias = StepRound | ScoreRound


def score_digest(m: EvaluationDone) -> str:
    """Equal digests mean equal counts and the same bits of the loss."""
    return hashlib.sha256(f"{m.samples} {m.hits} {m.hits5} {m.loss.hex()}".encode()).hexdigest()
