"""The two kinds of round the workers are led through: the shards of a step, and the shards of a split being scored.

A round knows what to ask for, which answers are possible at all, and what they add up to. Who is asked is `Book`'s
business; what follows a complete round is `Course`'s.
"""

from __future__ import annotations

from typing import TypeAlias

from dptrain.cluster.assignment import Assignment, Book
from dptrain.cluster.job import Job
from dptrain.cluster.lease import Lease
from dptrain.cluster.state import TrainingState, array_digest
from dptrain.cluster.tree import Node, Tree, is_node
from dptrain.model import ShardResult
from dptrain.types import F32
from dptrain.wire.messages import Assign, Evaluate, EvaluationDone, NodeDone, Params


def snapshot(term: int, step: int, params: F32, buffers: F32) -> Params:
    """Params with copies: frames may still wait in a socket when the weights change."""
    return Params(term, step, array_digest(params), params.copy(), buffers.copy())


class StepRound:
    """The gradient of one step."""

    def __init__(self, job: Job, state: TrainingState, lease: Lease) -> None:
        self.term, self.step, self.lease = job.term, state.step, lease
        shards = job.sampler.shards(self.step)
        self._sizes = [len(job.sampler.shard(self.step, index)) for index in range(shards)]
        self.params = snapshot(job.term, state.step, state.params, state.buffers)
        self.book = Book(shards)
        self.tree: Tree[ShardResult] = Tree(shards)
        self.seconds: dict[str, float] = {}  #: compute time by worker name

    @property
    def title(self) -> str:
        """For notices."""
        return f"step {self.step + 1}"

    def chunk(self, workers: int) -> int:
        """Most shards of one assignment: two assignments a worker, rounded down to a power of two."""
        return 1 << (max(1, self.book.shards // (2 * max(1, workers))).bit_length() - 1)

    def order(self, a: Assignment) -> Assign:
        """What the holder is sent."""
        return Assign(self.term, self.step, a.node.first, a.node.last, a.attempt, self.book.shards)

    def fault(self, m: NodeDone) -> str:
        """Why this answer cannot have come from a sound worker; "" where it can."""
        if not is_node(m.first, m.last, self.book.shards):
            return f"sent shards [{m.first}, {m.last}): no node of a step of {self.book.shards} shards"
        if m.digest != self.params.digest:
            return f"computed with parameters {m.digest[:16]}; those of step {self.step} are {self.params.digest}"
        for name, got, wanted in (
            ("gradient", m.gradient.shape, self.params.params.shape),
            ("statistics", m.statistics.shape, self.params.buffers.shape),
        ):
            if got != wanted:
                return f"sent {name} of shape {got}; the model has {wanted}"
        samples = sum(self._sizes[m.first : m.last])
        if m.samples != samples:
            return f"counted {m.samples} samples in shards [{m.first}, {m.last}); there are {samples}"
        return f"counted {m.hits} hits among {samples} samples" if m.hits > samples else ""

    def add(self, name: str, m: NodeDone) -> None:
        """Takes an answer in, sent by the worker `name`."""
        self.book.fill(Node(m.first, m.last))
        self.tree.add(m.first, m.last, ShardResult(m.gradient, m.statistics, m.loss, m.hits, m.samples))
        self.seconds[name] = self.seconds.get(name, 0.0) + m.seconds

    def validate(self) -> None:
        """What is done is what lies in the tree."""
        in_tree = {shard for node in self.tree.nodes() for shard in range(*node)}
        assert all(self.book.free(Node(s, s + 1)) != (s in in_tree) for s in range(self.book.shards))


class ScoreRound:
    """The score of one split."""

    def __init__(self, job: Job, state: TrainingState, split: str, lease: Lease) -> None:
        self.term, self.step, self.lease, self.split = job.term, state.step, lease, split
        self.samples = job.evaluations.validation if split == "validation" else job.evaluations.test
        self._shard = job.evaluations.shard
        self.best = split == "test" and state.best_accuracy >= 0  #: scored with the best weights on validation
        params, buffers = (state.best_params, state.best_buffers) if self.best else (state.params, state.buffers)
        self.params = snapshot(job.term, state.step, params, buffers)
        self.book = Book(-(-self.samples // self._shard))
        self._answers: dict[int, EvaluationDone] = {}

    @property
    def title(self) -> str:
        """For notices."""
        return f"the {self.split} split after step {self.step}"

    def chunk(self, workers: int) -> int:  # noqa: ARG002  # same signature as StepRound's
        """Nothing is gained by asking for more than one: counts are small."""
        return 1

    def _range(self, index: int) -> tuple[int, int]:
        return index * self._shard, min((index + 1) * self._shard, self.samples)

    def order(self, a: Assignment) -> Evaluate:
        """What the holder is sent."""
        start, stop = self._range(a.node.first)
        return Evaluate(self.term, self.step, self.split, a.node.first, start, stop, a.attempt)

    def fault(self, m: EvaluationDone) -> str:
        """Why this answer cannot have come from a sound worker; "" where it can."""
        if m.index >= self.book.shards:
            return f"scored shard {m.index} of the {self.split} split; it has {self.book.shards}"
        start, stop = self._range(m.index)
        if m.samples != stop - start:
            return f"scored {m.samples} samples in shard {m.index} of the {self.split} split; there are {stop - start}"
        if not m.hits <= m.hits5 <= m.samples:
            return f"counted {m.hits} hits and {m.hits5} among the first five in {m.samples} samples"
        return ""

    def add(self, m: EvaluationDone) -> None:
        """Takes an answer in."""
        self.book.fill(Node(m.index, m.index + 1))
        self._answers[m.index] = m

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


Round: TypeAlias = StepRound | ScoreRound
