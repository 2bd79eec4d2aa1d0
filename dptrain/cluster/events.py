"""Events and actions of the two state machines, coordinator and worker, and the reports of a run. Data only.

A loop (`dptrain/processes/`) turns sockets, clocks and threads into events, calls `machine.handle(event, now)`, and
carries out the actions it returns. `now` is monotonic seconds on this host; no time crosses the wire.

The worker's loop carries out the actions of an event in their order. The coordinator's loop first carries out all Sends
of an event in their order, because workers wait for them, and then the other actions in theirs. No action changes the
coordinator's state, so a SaveCheckpoint saves the same state either way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dptrain.cluster.messages import FromCoordinator, FromWorker, Welcome
from dptrain.course import Course
from dptrain.errors import exit_code_of
from dptrain.model import ParamLayout, ShardResult, ShardScore
from dptrain.types import F32

DIVERGED = "the training has diverged"  #: how the notice begins that ends such a run


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Reported once, before the first step; also after a resume."""

    step: int  #: steps already applied
    total_steps: int
    steps_per_epoch: int
    term: int


@dataclass(frozen=True, slots=True)
class WorkerAdmitted:
    """A worker was admitted."""

    name: str
    pid: int
    isa: str
    workers: int  #: ready workers now


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker was removed, with the reason; the shards it held are open again."""

    name: str
    reason: str
    shards: tuple[int, ...]  #: of the current step, to be computed by other workers
    workers: int


@dataclass(frozen=True, slots=True)
class WorkerSilent:
    """A worker has not made progress with what it holds for the length of its lease: others may compute it too."""

    name: str
    seconds: float
    what: str  #: "shard 3 of step 7"


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer update was applied."""

    step: int  #: 1 after the first update
    epoch: int  #: 0 in the first epoch
    loss: float  #: mean over the batch, before the update
    hits: int
    samples: int
    lr: float
    state_sha256: str  #: "" unless this step is hashed
    tensor_hashes: tuple[tuple[str, str], ...]  #: (name, first 16 hex digits of SHA-256), "" unless hashed
    worker_seconds: tuple[tuple[str, float], ...]  #: (name of the worker, its compute time in this step)
    traffic: tuple[int, int] = (0, 0)  #: bytes sent and received since the last step; the loop fills it in
    coordinator_seconds: float = 0.0  #: from the arrival of the last gradient to here; the loop fills it in


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The step applied last may be wrong and is computed again: its reports and checkpoints no longer count."""

    step: int  #: steps that are applied now


@dataclass(frozen=True, slots=True)
class EpochDone:
    """All training samples of an epoch were used."""

    epoch: int  #: 1 after the first
    step: int
    loss: float  #: mean over the epoch's samples
    accuracy: float
    lr: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A split was scored."""

    step: int
    epoch: int
    split: str
    loss: float
    accuracy: float
    accuracy5: float
    samples: int
    best: bool  #: the best validation accuracy of the run so far


@dataclass(frozen=True, slots=True)
class Notice:
    """Any other line for the log. level: "info", "warning", "error"."""

    level: str
    text: str
    final: bool = False  #: the run ends with it: the process that started the run writes it as the last line


Report: TypeAlias = (
    RunStarted | WorkerAdmitted | WorkerLost | WorkerSilent | StepDone | TakenBack | EpochDone | Evaluated | Notice
)


Peer: TypeAlias = bytes  #: a connection, named by the edge that holds it; a reconnect is a new peer
THE_COORDINATOR: Peer = b"coordinator"  #: the only peer a worker has


# --- both machines: ends. Five words in all: a worker says Leave, the coordinator says Stop or Reject (messages), a
# connection or a process is Gone (event), a machine has Ended (action). StopRequested is the wish from outside.


@dataclass(frozen=True, slots=True)
class Child:
    """A worker or an augmenter that the coordinator has started: a process, or a thread with `--workers 0`."""

    name: str
    incarnation: str = ""  #: "" of an augmenter, which signs nothing

    def __str__(self) -> str:
        return f"{'worker' if self.incarnation else 'augmenter'} {self.name}"


@dataclass(frozen=True, slots=True)
class Gone:
    """A connection (`who` is a Peer) or a process that was started here (`who` is a Child) has ended.

    When a worker that was started here dies, both are reported, in either order.
    """

    who: Peer | Child
    reason: str  #: "the connection is closed", "exited with signal 9"
    #: Whether the shards it held may be the cause: not where it left in good order, or was killed from outside.
    shards_suspect: bool = True


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A signal or a failure asks for an end. The coordinator saves what is applied, then stops; a worker leaves."""

    reason: str  #: "SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", or anything else
    otherwise: int = 0  #: exit code of what is no signal: 0 where it was only asked for

    @property
    def exit_code(self) -> int:
        """Of the process that ends because of it."""
        return exit_code_of(self.reason, self.otherwise)


@dataclass(frozen=True, slots=True)
class Ended:
    """The machine is finished: leave its loop (the coordinator's once no member is `parting` any more)."""

    code: int  #: exit code of the process
    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed (at least every 0.25 s)."""


# --- coordinator: events


@dataclass(frozen=True, slots=True)
class Received:
    """A valid message of a worker or an augmenter has come."""

    peer: Peer
    message: FromWorker


CoordinatorEvent: TypeAlias = Received | Gone | Tick | StopRequested


# --- coordinator: actions


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a peer. Where the peer is gone, the loop answers with Gone."""

    peer: Peer
    message: FromCoordinator


@dataclass(frozen=True, slots=True)
class Ignore:
    """Ignore what still arrives over this connection."""

    peer: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Hand a report to the recorder (log, metrics, progress)."""

    report: Report


@dataclass(frozen=True, slots=True)
class SaveCheckpoint:
    """Write machine.state as the last checkpoint; also as the best one if `best`."""

    best: bool


CoordinatorAction: TypeAlias = Send | Ignore | Tell | SaveCheckpoint | Ended


# --- worker: tasks the compute thread carries out, in order


@dataclass(frozen=True, slots=True)
class PrepareTask:
    """Build the network, open the data set, compute the canary. Result: Prepared or Failure."""

    welcome: Welcome


@dataclass(frozen=True, slots=True, eq=False)
class GradientTask:
    """Compute the gradient of one shard. Result: ShardResult; its arrays are not written again while they are held."""

    step: int
    shard: int
    params: F32


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationTask:
    """Score the samples [start, stop) of a split. Result: ShardScore."""

    step: int
    split: str
    index: int
    start: int
    stop: int
    params: F32
    buffers: F32


Task: TypeAlias = PrepareTask | GradientTask | EvaluationTask


@dataclass(frozen=True, slots=True)
class Prepared:
    """The digests this worker has found; the coordinator compares them with its own."""

    layout: str  #: state.layout_digest() of this worker's own network
    dataset: str
    canary: str
    course: Course  #: what a coordinator may ask for: the shards of every step, the parts of every split
    #: names for "NaN in TENSOR"; without them the place in the vector is named
    params: ParamLayout = field(default_factory=lambda: ParamLayout(()))
    buffers: ParamLayout = field(default_factory=lambda: ParamLayout(()))


@dataclass(frozen=True, slots=True)
class Failure:
    """A PrepareTask cannot be done on this host, for example because data is missing: starting again would not help."""

    reason: str


# --- worker: events


@dataclass(frozen=True, slots=True)
class Connected:
    """A new connection is open. ZeroMQ connects in the background: it may still lead to no coordinator."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A valid message of the coordinator has come."""

    message: FromCoordinator


@dataclass(frozen=True, slots=True)
class Computed:
    """A compute thread has finished a task. Tasks may be finished in any order."""

    task: Task  #: the very object Compute had, with the very same arrays
    result: ShardResult | Prepared | ShardScore | Failure
    seconds: float


WorkerEvent: TypeAlias = Connected | Arrived | Computed | Gone | Tick | StopRequested


# --- worker: actions


@dataclass(frozen=True, slots=True)
class Reply:
    """Send to the coordinator."""

    message: FromWorker


@dataclass(frozen=True, slots=True)
class Compute:
    """Append a task to the compute thread's queue, and ask the augmenters for the shard of a GradientTask."""

    task: Task


@dataclass(frozen=True, slots=True)
class CancelTasks:
    """Remove the tasks from the compute queue that have not begun. The running one may still return its result."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Close the connection, wait `delay` seconds, open a new one, then handle Connected."""

    delay: float


WorkerAction: TypeAlias = Reply | Compute | CancelTasks | Reconnect | Ended
