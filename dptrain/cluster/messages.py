"""Every message of the protocol as a frozen dataclass. What a field means and its unit stands here, nowhere else.

Direction is in the section. `term` is the life of the coordinator, `incarnation` the life of the worker process
(32 hex digits, random), `attempt` how often the work was given up before, `digest` the params it is done with: whatever
is of another term, process, step or params changes nothing. (Hello and AskConfig come before a term is known; the
coordinator's messages need no incarnation, because a connection has one process at its other end for all its life.)
A node of the tree is the half-open range of shards [first, last) of one step. Arrays travel as raw frames after the
header, C order, little endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dptrain.model import ShardResult, ShardScore
from dptrain.types import F32, U8

PROTOCOL = 4  #: both sides must speak the same


# --- worker -> coordinator


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a worker, and its answer to WhoAreYou."""

    protocol: int
    incarnation: str  #: 32 random hex digits, new for every process
    name: str  #: for people: "w2", "host:4711"
    pid: int  #: on the worker's own host
    numerics: str  #: name of the arithmetic it computes in, e.g. "fp32-v2"
    isa: str  #: how it is computed there: "avx512", "avx2", "portable"; information only


@dataclass(frozen=True, slots=True)
class Canary:
    """The worker computed the canary shard of the run it was welcomed to, its scores, and the first augmented shard."""

    term: int
    incarnation: str
    digest: str  #: workers.parts.canary_digest: over gradient, scores and an augmented shard
    dataset: str  #: SHA-256 of the data set as this host holds it


@dataclass(frozen=True, slots=True)
class NodeDone:
    """The sum over the shards [first, last) of a step. Frames: gradient, statistics (float32)."""

    term: int
    incarnation: str
    step: int
    first: int
    last: int
    attempt: int  #: of the assignment it answers (the highest one, where it answers several)
    digest: str  #: params_digest of the parameters it was computed with
    seconds: float  #: compute time on the worker, information only
    result: ShardResult


@dataclass(frozen=True, slots=True)
class EvaluationDone:
    """Counts over one evaluation shard."""

    term: int
    incarnation: str
    step: int
    split: str
    index: int
    attempt: int
    digest: str  #: of the Params it was scored with
    result: ShardScore


@dataclass(frozen=True, slots=True)
class Progress:
    """The worker is alive and moves on with what it holds: where that is news, its leases start anew."""

    term: int
    incarnation: str
    step: int
    first: int  #: the assignment it took up, or the shard it finished; an evaluation shard's index
    done: int = 0  #: 1: a shard is finished, whose sum waits for its sibling; 0: an assignment has arrived


@dataclass(frozen=True, slots=True)
class NonFinite:
    """A shard's gradient, statistics or loss hold NaN or infinity; nothing of it is sent but its hash."""

    term: int
    incarnation: str
    step: int
    shard: int
    attempt: int
    digest: str  #: of the Params it was computed with
    tensor: str  #: the first array that is not finite: a parameter's or a buffer's name, or "loss"
    result: str  #: ShardResult.digest(): if another worker finds the same, it is the run that has diverged


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker goes away in good order; what it holds is given to somebody else. Also the answer to Stop."""

    term: int
    incarnation: str
    reason: str


# --- augmenter -> coordinator


@dataclass(frozen=True, slots=True)
class AskConfig:
    """An augmenter (which never becomes a member) asks for the run: the answer is Welcome, or Reject."""

    protocol: int


# --- coordinator -> worker


@dataclass(frozen=True, slots=True)
class Welcome:
    """Everything a worker needs to know: it takes no training flags of its own."""

    term: int
    identity: str  #: hash that names the run
    config: str  #: JSON of the identity part of the configuration
    dataset: str  #: SHA-256 the data set must have
    layout: str  #: ParamLayout.digest() of params, then of buffers


@dataclass(frozen=True, slots=True)
class Admitted:
    """The canary was right; work follows."""

    term: int


@dataclass(frozen=True, slots=True)
class Params:
    """The weights of one step. Frames: params, buffers (float32)."""

    term: int
    step: int
    digest: str  #: checksum.params_digest of params
    params: F32
    buffers: F32


@dataclass(frozen=True, slots=True)
class Assign:
    """Compute the shards [first, last) of the step, one node of the tree over `shards` leaves."""

    term: int
    step: int
    first: int
    last: int
    attempt: int
    digest: str  #: of the Params to compute with
    shards: int  #: of the whole step: with it the worker knows which of its nodes are siblings
    alone: int  #: 1: the node is one shard, to be computed (again) and sent by itself, never as part of a sum


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Score samples [start, stop) of a split with the Params of this step."""

    term: int
    step: int
    split: str  #: "train", "validation", "test"
    index: int
    start: int
    stop: int
    attempt: int
    digest: str  #: of the Params to score


@dataclass(frozen=True, slots=True)
class Ping:
    """Finds out whether a peer is still there (the send fails where it is not); needs no answer."""

    term: int


@dataclass(frozen=True, slots=True)
class WhoAreYou:
    """The coordinator does not know this connection: open a new one and say Hello."""

    term: int


@dataclass(frozen=True, slots=True)
class Reject:
    """The worker cannot take part, whatever it does: it must exit with 78."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is over (or stops for now): say Leave, and exit with 0."""

    term: int
    reason: str


# --- worker <-> augmenter


@dataclass(frozen=True, slots=True)
class WantShard:
    """Worker -> augmenter: send me this prepared shard if you have it."""

    identity: str
    step: int
    shard: int


@dataclass(frozen=True, slots=True)
class PreparedShard:
    """Augmenter -> worker. Frames: images, uint8 (n, h, w, c)."""

    step: int
    shard: int
    images: U8


FromWorker: TypeAlias = Hello | Canary | NodeDone | EvaluationDone | Progress | NonFinite | Leave | AskConfig
FromCoordinator: TypeAlias = Welcome | Admitted | Params | Assign | Evaluate | Ping | WhoAreYou | Reject | Stop
Message: TypeAlias = FromWorker | FromCoordinator | WantShard | PreparedShard
