"""Every message of the protocol as a frozen dataclass. This file says what each field means and its unit.

The sections say who sends a message to whom. Fields that several messages have:

- `term`: the life of the coordinator over a run directory, one more at every start
- `incarnation`: the life of the worker process, 32 random hex digits
- `attempt`: how often the work was given up before
- `digest`: of the parameters that the work is done with
- `first`, `last`: a node of the tree, the half-open range of shards [first, last) of one step

A message of another term, incarnation, step or digest than the current one changes nothing. Hello and AskConfig come
before a term is known. The coordinator's messages need no incarnation: a connection has the same process at its other
end for its whole life. Arrays travel as raw frames after the header, C order, little endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dptrain.model import ShardResult, ShardScore
from dptrain.types import F32, U8

#: Version of the protocol: both sides must speak the same. docs/explanation/protocol.md says what each version changed.
PROTOCOL = 5


# --- worker -> coordinator


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a worker on a connection."""

    protocol: int
    incarnation: str  #: 32 random hex digits, new for every process
    name: str  #: for logs: "w2", "host:4711"
    pid: int  #: on the worker's own host
    numerics: str  #: name of the arithmetic it computes in, e.g. "fp32-v2"
    isa: str  #: instruction set: "avx512", "avx2", "portable"; information only


@dataclass(frozen=True, slots=True)
class Canary:
    """The worker has prepared the run of Welcome and proves that it computes the same bits as the coordinator."""

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
    """The worker makes progress with what it holds. If the coordinator did not know that yet, the leases start anew."""

    term: int
    incarnation: str
    step: int
    first: int  #: of the assignment that has arrived; or the shard that is finished; or the index of a score
    done: int = 0  #: 1: a shard is finished, whose sum waits for its sibling; 0: an assignment has arrived


@dataclass(frozen=True, slots=True)
class NonFinite:
    """The gradient, statistics or loss of a shard hold NaN or infinity. Only the hash of the result is sent."""

    term: int
    incarnation: str
    step: int
    shard: int
    attempt: int
    digest: str  #: of the Params it was computed with
    tensor: str  #: the first array that is not finite: a parameter's or a buffer's name, or "loss"
    result: str  #: ShardResult.digest(): if another worker finds the same one, the run has diverged


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker ends. What it holds is given to other workers. Also the answer to Stop."""

    term: int
    incarnation: str
    reason: str


# --- augmenter -> coordinator


@dataclass(frozen=True, slots=True)
class AskConfig:
    """An augmenter asks for the run. The answer is Welcome or Reject; an augmenter is not a member."""

    protocol: int


# --- coordinator -> worker


@dataclass(frozen=True, slots=True)
class Welcome:
    """The run: all that a worker needs to know, so that it takes no training flags of its own."""

    term: int
    identity: str  #: hash that names the run
    config: str  #: JSON of the identity part of the configuration
    dataset: str  #: SHA-256 the data set must have
    layout: str  #: ParamLayout.digest() of params, then of buffers


@dataclass(frozen=True, slots=True)
class Admitted:
    """The canary was right: weights and work follow."""

    term: int


@dataclass(frozen=True, slots=True)
class Params:
    """The weights of one step. Frames: params, buffers (float32)."""

    term: int
    step: int
    digest: str  #: codec.params_digest of params
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
    shards: int  #: of the whole step: they tell which nodes are siblings
    alone: int  #: 1: the node is one shard, to be computed (again) and sent alone, not as a part of a sum


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Score the samples [start, stop) of a split, its shard `index`, with the Params of this step."""

    term: int
    step: int
    split: str  #: "validation", "test"
    index: int
    start: int
    stop: int
    attempt: int
    digest: str  #: of the Params to score


@dataclass(frozen=True, slots=True)
class Ping:
    """Shows a worker that the coordinator is there. Where the worker is gone, sending it fails. Needs no answer."""

    term: int


@dataclass(frozen=True, slots=True)
class WhoAreYou:
    """The coordinator does not know this connection: the worker opens a new one and says Hello."""

    term: int


@dataclass(frozen=True, slots=True)
class Reject:
    """The worker cannot take part, whatever it does: it exits with 78."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is over, or stops for now: the worker answers with Leave and exits with 0."""

    term: int
    reason: str


# --- worker <-> augmenter


@dataclass(frozen=True, slots=True)
class WantShard:
    """Worker -> augmenter: asks for a prepared shard."""

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
