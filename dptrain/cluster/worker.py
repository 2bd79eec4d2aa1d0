"""The worker as a state machine: events in, actions out. It has no socket, no clock and no thread.

A worker says Hello, prepares the run that Welcome names, proves itself with the digest of its canary shard, and then
computes the shards and scores it is assigned. It adds results along the tree before it sends them. It holds nothing
that may not be lost: another worker computes the same bits.

`TABLE` lists its states and all their transitions; docs/explanation/worker-states.md shows it as a diagram.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

import numpy as np

from dptrain.cluster.codec import params_digest
from dptrain.cluster.events import (
    Arrived,
    CancelTasks,
    Compute,
    Computed,
    Connected,
    Ended,
    EvaluationTask,
    Failure,
    Gone,
    GradientTask,
    Prepared,
    PrepareTask,
    Reconnect,
    Reply,
    StopRequested,
    Tick,
    WorkerAction,
    WorkerEvent,
)
from dptrain.cluster.job import layout_fault
from dptrain.cluster.messages import (
    Admitted,
    Assign,
    Canary,
    Evaluate,
    EvaluationDone,
    FromCoordinator,
    Hello,
    Leave,
    NonFinite,
    Params,
    Ping,
    Progress,
    Reject,
    Stop,
    Welcome,
    WhoAreYou,
)
from dptrain.cluster.table import Table, Tracker
from dptrain.cluster.tree import Holding, Node, is_node
from dptrain.course import Course
from dptrain.errors import ConnectionLostError, RefusedError, UsageError
from dptrain.model import ShardResult, ShardScore

SILENCE = 15.0  #: seconds without a message after which a connection is given up; the coordinator pings every second
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  #: seconds before a new connection
GIVE_UP = 60.0  #: seconds without any message after which the worker ends
ASLEEP = 5.0  #: seconds without any event. Ticks alone come four times per second: this process was stopped (Ctrl-Z)


class State(Enum):
    """Where a worker stands. The values are the documentation's words."""

    CONNECTING = "there is no connection; a new one is opened after a delay"
    GREETING = "Hello is sent; Welcome is awaited"
    PREPARING = "the network is being built, the data set opened, the canary shard computed"
    PROVING = "the canary's digest is sent; Admitted is awaited"
    READY = "the worker is admitted; weights are awaited"
    WORKING = "the weights of a step are here; shards and scores are computed as they are assigned"
    ENDED = "the worker has ended with an exit code; later events are ignored"


class Change(Enum):
    """What moves a worker from one state to another. The values are the documentation's words."""

    CONNECTED = "a new connection is open"
    WELCOMED = "Welcome has arrived: it names the run"
    PREPARED = "the network is built, and its parameters have the layout that the run has"
    ADMITTED = "Admitted has arrived, or weights, in case Admitted was lost"
    WEIGHTS = "the weights of another step, or other weights of this step, have arrived undamaged"
    ASSIGNED = "a node of the step's tree, or a part of a split, is to be computed with these weights"
    COMPUTED = "a result with these weights is computed"
    LOST = "the connection is lost, is silent for 15 s, or has carried a message that a correct coordinator never sends"
    END = "the run is over, the worker is refused or cannot prepare, a signal came, or nothing was heard for 60 s"


_CONNECTED = (State.GREETING, State.PREPARING, State.PROVING, State.READY, State.WORKING)

TABLE = Table(
    "worker",
    State.CONNECTING,
    {
        (State.CONNECTING, Change.CONNECTED): State.GREETING,
        (State.GREETING, Change.WELCOMED): State.PREPARING,
        (State.PREPARING, Change.PREPARED): State.PROVING,
        (State.PROVING, Change.ADMITTED): State.READY,
        (State.READY, Change.WEIGHTS): State.WORKING,
        (State.WORKING, Change.WEIGHTS): State.WORKING,
        (State.WORKING, Change.ASSIGNED): State.WORKING,
        (State.WORKING, Change.COMPUTED): State.WORKING,
        **{(state, Change.LOST): State.CONNECTING for state in _CONNECTED},
        **{(state, Change.END): State.ENDED for state in (State.CONNECTING, *_CONNECTED)},
    },
)


class Patience:
    """When a worker gives up a connection, how long it waits before the next one, and when it ends."""

    def __init__(self, incarnation: str, give_up: float) -> None:
        self._incarnation = incarnation
        self._give_up = give_up
        self._failures = 0  #: connections given up since the last Welcome
        self._awake: float | None = None  #: the last event
        self._heard = 0.0  #: the last message, or the first event of this process
        self._opened = 0.0  #: the connection

    def awake(self, now: float) -> None:
        """To be called at every event: the first one starts the clock. Time this process slept is not silence."""
        if self._awake is None:
            self._heard = now
        elif now - self._awake > ASLEEP:
            self._heard += now - self._awake
            self._opened += now - self._awake
        self._awake = now

    def opened(self, now: float) -> None:
        """A new connection is open."""
        self._opened = now

    def heard(self, now: float) -> None:
        """A message has come."""
        self._heard = now

    def welcomed(self) -> None:
        """The coordinator knows this worker: the next failure counts as the first."""
        self._failures = 0

    def silent(self, now: float) -> bool:
        """Whether the connection is to be given up."""
        return now - max(self._opened, self._heard) >= SILENCE

    def exhausted(self, now: float) -> bool:
        """Whether the worker is to end."""
        return now - self._heard >= self._give_up

    def delay(self) -> float:
        """Seconds before the next connection: 0.1, doubling to 5, of which 50 to 100 % by jitter.

        The jitter is read off the incarnation, four hex digits per failure. So workers that lost the same coordinator
        do not come back at the same instant, and the same worker behaves the same way in every replay.
        """
        base = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 16))
        at = 4 * (self._failures % 8)
        self._failures += 1
        return base * (0.5 + 0.5 * int(self._incarnation[at : at + 4], 16) / 0xFFFF)


class Worker:
    """Computes for one coordinator. `handle` each event; carry out its actions in order before the next one.

    Results of GradientTasks may come in any order: the caller may compute several at a time.
    """

    def __init__(self, hello: Hello, give_up: float = GIVE_UP) -> None:
        self._me = hello  #: who this process is, and its first message
        self._patience = Patience(hello.incarnation, give_up)
        self._tracker = Tracker(TABLE)
        self._now = 0.0  #: of the event that is handled
        self._asked = 0.0  #: when Hello or Canary was sent
        self._term = 0  #: the highest term seen in this run; a lower one belongs to a coordinator that no longer leads
        self._run = ""  #: identity of the run that the term counts for
        self._welcome: Welcome | None = None  #: of this connection
        self._preparing: Welcome | None = None  #: what the compute thread is preparing
        self._prepared: tuple[Welcome, Prepared] | None = None  #: kept over reconnects
        self._params: Params | None = None  #: what all current work is computed with
        self._holding: Holding | None = None  #: this worker's shards of the step of `_params`
        self._evaluations: dict[tuple[str, int], int] = {}  #: (split, index) awaited -> attempt

    @property
    def state(self) -> State:
        """Where this worker stands."""
        return self._tracker.state

    @property
    def exited(self) -> bool:
        """Ended was returned; every further event is ignored."""
        return self.state is State.ENDED

    def handle(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        """What is to be done because of this event. `now`: monotonic seconds.

        Raises InvalidTransition for an event that the caller cannot have had in this state: a bug. What a coordinator
        sends at a wrong time is ignored, or costs the connection.
        """
        if self.exited:
            return []
        self._patience.awake(now)
        self._now = now
        with np.errstate(over="ignore", invalid="ignore"):  # `not_finite` looks for infinities, and names them
            match event:
                case Tick():
                    return self._tick()
                case Connected():
                    return self._connected()
                case Arrived(message):
                    self._tracker.note(type(message).__name__)
                    return self._arrived(message)
                case Computed(task):
                    self._tracker.note(f"{type(task).__name__} computed")
                    return self._computed(event)
                case Gone():
                    self._tracker.note("the connection is lost")
                    return [] if self.state is State.CONNECTING else self._reconnect()
                case StopRequested(reason):
                    return self._leave(reason, event.exit_code)

    # --- the connection

    def _connected(self) -> list[WorkerAction]:
        self._tracker.step(Change.CONNECTED)
        self._asked = self._now
        self._patience.opened(self._now)
        return [Reply(self._me)]

    def _tick(self) -> list[WorkerAction]:
        if self._patience.exhausted(self._now):
            text = "the coordinator does not answer: is it running, and is --connect its address?"
            return self._end(ConnectionLostError.exit_code, text)
        if self.state is State.CONNECTING:
            return []
        # In these two states a coordinator may be there, while the question to it or its answer was lost.
        unanswered = self.state in (State.GREETING, State.PROVING) and self._now - self._asked >= SILENCE
        return self._reconnect() if unanswered or self._patience.silent(self._now) else []

    def _reconnect(self) -> list[WorkerAction]:
        """Gives the connection up, and all work with it; what was prepared stays."""
        self._tracker.step(Change.LOST)
        self._welcome = None
        return [*self._forget(), Reconnect(self._patience.delay())]

    def _forget(self) -> list[WorkerAction]:
        busy = self._holding is not None or bool(self._evaluations)
        self._params, self._holding, self._evaluations = None, None, {}
        return [CancelTasks()] if busy else []  # takes no PrepareTask back: while one is queued there is no work

    def _leave(self, reason: str, code: int) -> list[WorkerAction]:
        line = " ".join(reason.split())[:1000]
        text = "".join(c if c.isprintable() else "?" for c in line)  # any text may be in it; the wire wants plain text
        farewell = [Reply(Leave(self._term, self._me.incarnation, text))] if self._welcome is not None else []
        return [*farewell, *self._end(code, text)]

    def _end(self, code: int, reason: str) -> list[WorkerAction]:
        self._tracker.step(Change.END)
        return [Ended(code, reason)]

    # --- what the coordinator sends

    def _arrived(self, message: FromCoordinator) -> list[WorkerAction]:
        if self.state is State.CONNECTING:
            return []  # it came over a connection that was given up
        if isinstance(message, Reject):
            return self._end(RefusedError.exit_code, f"the coordinator refuses this worker: {message.reason}")
        if isinstance(message, Welcome) and message.identity != self._run and self.state is State.GREETING:
            self._run, self._term = message.identity, 0  # another run has this address now: its terms are its own
        if message.term < self._term:
            return []  # not even a sign of life: the coordinator that leads has a higher term
        self._patience.heard(self._now)
        match message:
            case Ping():
                return []
            case WhoAreYou():
                return self._reconnect()
            case Stop(reason=reason):
                return self._leave(reason, 0)
            case Welcome():
                return self._welcomed(message) if self._tracker.allows(Change.WELCOMED) else []  # a second copy
            case Admitted() | Params() | Assign() | Evaluate():
                if message.term != self._term:
                    return []  # a later life of the coordinator does not know this worker yet: it will ask
                return self._instructed(message)

    def _instructed(self, message: Admitted | Params | Assign | Evaluate) -> list[WorkerAction]:
        proving = self.state is State.PROVING
        match message:
            case Admitted():
                if proving:
                    self._tracker.step(Change.ADMITTED)
            case Params():
                if proving:
                    self._tracker.step(Change.ADMITTED)  # only an admitted worker gets weights: Admitted was lost
                if self._tracker.allows(Change.WEIGHTS):
                    return self._weights(message)
            case Assign() | Evaluate():
                if self._tracker.allows(Change.ASSIGNED):
                    return self._assigned(message)
                if proving or self.state is State.READY:
                    return self._reconnect()  # the weights to compute with were lost on the way
        return []

    def _welcomed(self, welcome: Welcome) -> list[WorkerAction]:
        self._tracker.step(Change.WELCOMED)
        self._patience.welcomed()
        self._term, self._welcome = welcome.term, welcome
        if self._prepared is not None and _same_run(self._prepared[0], welcome):
            return self._prove(self._prepared[1], welcome)
        if self._preparing is not None and _same_run(self._preparing, welcome):
            return []
        stale = [CancelTasks()] if self._preparing is not None else []  # a preparation of another run may have to wait
        self._preparing, self._prepared = welcome, None
        return [*stale, Compute(PrepareTask(welcome))]

    def _prove(self, prepared: Prepared, welcome: Welcome) -> list[WorkerAction]:
        if fault := layout_fault(prepared.layout, welcome):
            return self._leave(fault, RefusedError.exit_code)
        self._tracker.step(Change.PREPARED)
        self._asked = self._now
        return [Reply(Canary(self._term, self._me.incarnation, prepared.canary, prepared.dataset))]

    def _weights(self, message: Params) -> list[WorkerAction]:
        known = self._params
        if known is not None and (message.step < known.step or (message.step, message.digest) == _key(known)):
            return []
        if params_digest(message.params) != message.digest:
            return self._reconnect()  # damaged on the way: what is computed with them would be wrong
        self._tracker.step(Change.WEIGHTS)
        actions = self._forget()
        self._params = message
        return actions

    def _assigned(self, message: Assign | Evaluate) -> list[WorkerAction]:
        params = self._params
        assert params is not None
        if (message.step, message.digest) != _key(params):
            # An old step is over. Weights of a later one, or others of this one, were lost on the way.
            return [] if message.step < params.step else self._reconnect()
        return self._assign(message, params) if isinstance(message, Assign) else self._evaluate(message, params)

    def _assign(self, m: Assign, params: Params) -> list[WorkerAction]:
        course, node, alone = self._course, Node(m.first, m.last), m.alone > 0
        known = m.step < course.steps and m.shards == course.sampler.shards(m.step)
        if not known or not is_node(*node, m.shards) or (alone and node.size > 1):
            return self._reconnect()
        self._tracker.step(Change.ASSIGNED)
        self._holding = holding = self._holding or Holding(params, self._me.incarnation, m.shards)
        new, ripe = holding.assign_alone(m.first, m.attempt) if alone else (holding.assign(node, m.attempt), [])
        tasks = [Compute(GradientTask(m.step, shard, params.params)) for shard in new]
        return [self._progress(m.step, m.first), *tasks, *map(Reply, ripe)]

    def _evaluate(self, m: Evaluate, params: Params) -> list[WorkerAction]:
        if not self._course.has_part(m.index, (m.split, m.start, m.stop)):
            return self._reconnect()
        self._tracker.step(Change.ASSIGNED)
        known = (m.split, m.index) in self._evaluations
        self._evaluations[m.split, m.index] = m.attempt
        progress = self._progress(m.step, m.index)
        if known:
            return [progress]
        task = EvaluationTask(m.step, m.split, m.index, m.start, m.stop, params.params, params.buffers)
        return [progress, Compute(task)]

    def _progress(self, step: int, first: int, *, done: bool = False) -> Reply:
        return Reply(Progress(self._term, self._me.incarnation, step, first, int(done)))

    @property
    def _course(self) -> Course:
        """Of the run this worker has prepared: no correct coordinator asks for anything else."""
        assert self._prepared is not None, "there are weights"
        return self._prepared[1].course

    # --- what the compute thread returns

    def _computed(self, event: Computed) -> list[WorkerAction]:
        task, result = event.task, event.result
        if isinstance(task, PrepareTask):
            assert isinstance(result, Prepared | Failure)
            return self._has_prepared(task, result)
        if self._params is None or task.params is not self._params.params:
            return []  # computed with weights that are no longer asked about
        self._tracker.step(Change.COMPUTED)
        if isinstance(task, GradientTask):
            assert isinstance(result, ShardResult)
            return self._shard_done(self._params, task, result, event.seconds)
        assert isinstance(result, ShardScore)
        return self._scored(self._params, task, result)

    def _has_prepared(self, task: PrepareTask, result: Prepared | Failure) -> list[WorkerAction]:
        if self._preparing is not task.welcome:
            return []  # another run is to be prepared since: whether this host could have taken part here says nothing
        if isinstance(result, Failure):
            return self._leave(result.reason, UsageError.exit_code)
        self._preparing, self._prepared = None, (task.welcome, result)
        waiting = self._welcome if self.state is State.PREPARING else None
        return [] if waiting is None else self._prove(result, waiting)

    def _shard_done(self, params: Params, task: GradientTask, r: ShardResult, seconds: float) -> list[WorkerAction]:
        holding = self._holding
        if holding is None or not holding.awaits(task.shard):
            return []
        assert self._prepared is not None
        tensor = r.not_finite(self._prepared[1].params, self._prepared[1].buffers)
        if tensor:
            me, attempt = self._me.incarnation, holding.attempt(task.shard)
            news = NonFinite(self._term, me, task.step, task.shard, attempt, params.digest, tensor, r.digest())
            return [Reply(news), *map(Reply, holding.discard(task.shard))]
        answers = holding.add(task.shard, r, seconds)
        return [*map(Reply, answers)] or [self._progress(task.step, task.shard, done=True)]

    def _scored(self, params: Params, task: EvaluationTask, score: ShardScore) -> list[WorkerAction]:
        attempt = self._evaluations.pop((task.split, task.index), None)
        if attempt is None:
            return []
        return [
            Reply(
                EvaluationDone(
                    term=self._term,
                    incarnation=self._me.incarnation,
                    step=task.step,
                    split=task.split,
                    index=task.index,
                    attempt=attempt,
                    digest=params.digest,
                    result=score,
                )
            )
        ]

    # --- for tests

    def validate(self) -> None:
        """Asserts what must hold between any two events."""
        if self.exited:
            return
        assert (self._welcome is None) == (self.state in (State.CONNECTING, State.GREETING))
        assert (self._params is None) == (self.state is not State.WORKING)
        assert self._params is not None or (self._holding is None and not self._evaluations)
        assert self._prepared is not None or self.state not in (State.PROVING, State.READY, State.WORKING)
        if self._holding is not None:
            self._holding.validate()


def _key(params: Params) -> tuple[int, str]:
    return params.step, params.digest


def _same_run(a: Welcome, b: Welcome) -> bool:
    """Whether a preparation for one Welcome serves the other: only the terms may differ."""
    return replace(a, term=b.term) == b
