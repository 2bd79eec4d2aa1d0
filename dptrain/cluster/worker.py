"""The worker as a state machine: events in, actions out. No socket, no clock, no thread.

It says Hello, prepares what Welcome asks for, proves itself with the canary shard, and then computes what it is asked
for. Sums are merged along the tree before they are sent. It holds nothing that cannot be lost.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

import numpy as np

from dptrain.cluster.codec import params_digest
from dptrain.cluster.doubt import fault_of
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
    Score,
    StopRequested,
    Tick,
    WorkerAction,
    WorkerEvent,
)
from dptrain.cluster.holding import Holding
from dptrain.cluster.members import layout_fault
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
from dptrain.cluster.tree import Node, is_node
from dptrain.errors import ConnectionLostError, RefusedError, UsageError
from dptrain.model import ShardResult

SILENCE = 15.0  #: seconds without a message after which a connection is given up; the coordinator pings every second
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  #: seconds before a new connection
GIVE_UP = 60.0  #: seconds without any message after which the worker exits
ASLEEP = 5.0  #: seconds without any event, of which ticks alone are four a second: this process was stopped (Ctrl-Z)


class Contact:
    """Back-off and patience of one worker."""

    def __init__(self, incarnation: str, give_up: float) -> None:
        self._incarnation = incarnation
        self._give_up = give_up
        self._failures = 0  #: connections given up since the last Welcome
        self._awake: float | None = None  #: the last event
        self._heard = 0.0  #: last message, or the first event of our life
        self._opened = 0.0  #: the connection

    def awake(self, now: float) -> None:
        """Called at every event: the first one starts the clock. Time we slept through is nobody's silence."""
        if self._awake is None:
            self._heard = now
        elif now - self._awake > ASLEEP:
            self._heard += now - self._awake
            self._opened += now - self._awake
        self._awake = now

    def opened(self, now: float) -> None:
        """A fresh connection is there."""
        self._opened = now

    def heard(self, now: float) -> None:
        """A message came."""
        self._heard = now

    def welcomed(self) -> None:
        """The coordinator knows us: the next failure is a first one."""
        self._failures = 0

    def silent(self, now: float) -> bool:
        """Whether the connection is to be given up."""
        return now - max(self._opened, self._heard) >= SILENCE

    def hopeless(self, now: float) -> bool:
        """Whether the worker is to exit."""
        return now - self._heard >= self._give_up

    def delay(self) -> float:
        """Seconds before the next connection: 0.1, doubling to 5, of which 50 to 100 % by jitter.

        The jitter is read off the incarnation, four hex digits a failure: workers that lost the same coordinator do not
        come back at the same instant, and the same worker behaves the same way in every replay.
        """
        base = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 16))
        at = 4 * (self._failures % 8)
        self._failures += 1
        return base * (0.5 + 0.5 * int(self._incarnation[at : at + 4], 16) / 0xFFFF)


class Link(Enum):
    """How far the connection has come."""

    DOWN = auto()  #: none; Connected is awaited
    GREETING = auto()  #: Hello is sent; Welcome is awaited
    PREPARING = auto()  #: the network, the data and the canary are being made
    CHECKING = auto()  #: Canary is sent; Admitted is awaited
    READY = auto()  #: work may come


class Worker:
    """Computes for one coordinator. `handle` each event; carry out its actions in order before the next one.

    Results of GradientTasks may come in any order: the edge may compute several at a time.
    """

    def __init__(self, hello: Hello, give_up: float = GIVE_UP) -> None:
        self._me = hello  #: who this process is, and what it says first
        self._contact = Contact(hello.incarnation, give_up)
        self._link = Link.DOWN
        self._exited = False
        self._now = 0.0  #: of the event that is handled
        self._asked = 0.0  #: when Hello or Canary was sent
        self._term = 0  #: the highest seen in this run; what is of a lower one is of a coordinator that lives no more
        self._run = ""  #: identity of the run that term counts for
        self._welcome: Welcome | None = None  #: of this connection
        self._preparing: Welcome | None = None  #: what the compute thread is preparing
        self._prepared: tuple[Welcome, Prepared] | None = None  #: kept over reconnects
        self._params: Params | None = None  #: what all current work is computed with
        self._holding: Holding | None = None  #: our shards of the step of `_params`
        self._evaluations: dict[tuple[str, int], int] = {}  #: (split, index) awaited -> attempt

    @property
    def exited(self) -> bool:
        """Ended was given; every further event is ignored."""
        return self._exited

    def handle(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        """What is to be done because of this event. `now`: monotonic seconds."""
        if self._exited:
            return []
        self._contact.awake(now)
        self._now = now
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are looked for, by name
            actions = self._dispatch(event, now)
        self._exited = any(isinstance(action, Ended) for action in actions)
        return actions

    def _dispatch(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        match event:
            case Connected():
                self._link, self._asked = Link.GREETING, now
                self._contact.opened(now)
                return [Reply(self._me)]
            case Arrived(message):
                return self._arrived(message, now)
            case Computed():
                return self._computed(event)
            case Gone():
                return [] if self._link is Link.DOWN else self._reconnect()
            case Tick():
                return self._tick(now)
            case StopRequested(reason):
                return self._leave(reason, event.exit_code)

    # --- the connection

    def _tick(self, now: float) -> list[WorkerAction]:
        if self._contact.hopeless(now):
            text = "the coordinator does not answer: is it running, and is --connect its address?"
            return [Ended(ConnectionLostError.exit_code, text)]
        if self._link is not Link.DOWN and self._contact.silent(now):
            return self._reconnect()
        if self._link in (Link.GREETING, Link.CHECKING) and now - self._asked >= SILENCE:
            return self._reconnect()  # it is there, but our question or its answer was lost
        return []

    def _reconnect(self) -> list[WorkerAction]:
        """Gives the connection up, and all work with it; what was prepared stays."""
        self._link, self._welcome = Link.DOWN, None
        return [*self._forget(), Reconnect(self._contact.delay())]

    def _forget(self) -> list[WorkerAction]:
        busy = self._holding is not None or bool(self._evaluations)
        self._params, self._holding, self._evaluations = None, None, {}
        return [CancelTasks()] if busy else []  # never a PrepareTask: while one is under way there is no work

    def _leave(self, reason: str, code: int) -> list[WorkerAction]:
        line = " ".join(reason.split())[:1000]
        text = "".join(c if c.isprintable() else "?" for c in line)  # it comes from anywhere; the wire wants plain text
        farewell = [Reply(Leave(self._term, self._me.incarnation, text))] if self._welcome is not None else []
        return [*farewell, Ended(code, text)]

    # --- what the coordinator says

    def _arrived(self, message: FromCoordinator, now: float) -> list[WorkerAction]:
        if self._link is Link.DOWN:
            return []  # of a connection that was given up
        if isinstance(message, Reject):
            return [Ended(RefusedError.exit_code, f"the coordinator refuses this worker: {message.reason}")]
        if isinstance(message, Welcome) and message.identity != self._run:
            self._run, self._term = message.identity, 0  # another run has this address now: its terms are its own
        if message.term < self._term:
            return []  # not even a sign of life: the coordinator we want has a higher term
        self._contact.heard(now)
        match message:
            case Welcome():
                return self._welcomed(message)
            case WhoAreYou():
                return self._reconnect()
            case Stop(reason=reason):
                return self._leave(reason, 0)
            case Ping():
                return []
            case Admitted() | Params() | Assign() | Evaluate():
                if message.term != self._term or self._welcome is None:
                    return []  # a new life of the coordinator does not know us: it will ask who we are
                return self._instructed(message)

    def _instructed(self, message: Admitted | Params | Assign | Evaluate) -> list[WorkerAction]:
        match message:
            case Admitted():
                if self._link is Link.CHECKING:
                    self._link = Link.READY
                return []
            case Params():
                if self._link is Link.CHECKING:
                    self._link = Link.READY  # nobody else gets weights: Admitted was lost
                return self._weights(message)
            case Assign():
                return self._assigned(message)
            case Evaluate():
                return self._evaluate(message)

    def _welcomed(self, welcome: Welcome) -> list[WorkerAction]:
        if self._link is not Link.GREETING:
            return []  # a second copy
        self._contact.welcomed()
        self._term, self._welcome, self._link = welcome.term, welcome, Link.PREPARING
        if self._prepared is not None and _same_run(self._prepared[0], welcome):
            return self._prove(self._prepared[1])
        if self._preparing is not None and _same_run(self._preparing, welcome):
            return []
        self._preparing, self._prepared = welcome, None
        return [Compute(PrepareTask(welcome))]

    def _prove(self, prepared: Prepared) -> list[WorkerAction]:
        assert self._welcome is not None
        if fault := layout_fault(prepared.layout, self._welcome):
            return self._leave(fault, RefusedError.exit_code)
        self._link, self._asked = Link.CHECKING, self._now
        return [Reply(Canary(self._term, self._me.incarnation, prepared.canary, prepared.dataset))]

    def _weights(self, message: Params) -> list[WorkerAction]:
        if self._link is not Link.READY:
            return []
        known = self._params
        if known is not None and (message.step < known.step or (message.step, message.digest) == _key(known)):
            return []
        if params_digest(message.params) != message.digest:
            return self._reconnect()  # damaged on the way: what is computed with them would be wrong
        actions = self._forget()
        self._params = message
        return actions

    def _assigned(self, m: Assign) -> list[WorkerAction]:
        params = self._params
        if params is None or (m.step, m.digest) != _key(params):
            return self._without_weights(m.step)
        holding = self._holding or Holding(params, self._me.incarnation, m.shards)
        alone = m.alone > 0
        sound = (
            is_node(m.first, m.last, m.shards) and holding.shards == m.shards and not (alone and m.last > m.first + 1)
        )
        if not sound:
            return self._reconnect()
        self._holding = holding
        node = Node(m.first, m.last)
        new, ripe = holding.assign_alone(m.first, m.attempt) if alone else (holding.assign(node, m.attempt), [])
        tasks = [Compute(GradientTask(m.step, shard, params.params)) for shard in new]
        return [self._progress(m.step, m.first), *tasks, *map(Reply, ripe)]

    def _evaluate(self, m: Evaluate) -> list[WorkerAction]:
        params = self._params
        if params is None or (m.step, m.digest) != _key(params):
            return self._without_weights(m.step)
        if m.start >= m.stop:
            return self._reconnect()
        known = (m.split, m.index) in self._evaluations
        self._evaluations[m.split, m.index] = m.attempt
        progress = self._progress(m.step, m.index)
        if known:
            return [progress]
        task = EvaluationTask(m.step, m.split, m.index, m.start, m.stop, params.params, params.buffers)
        return [progress, Compute(task)]

    def _without_weights(self, step: int) -> list[WorkerAction]:
        """We were asked to compute with weights that we do not have: old ones, or something was lost on the way."""
        if self._link not in (Link.CHECKING, Link.READY):
            return []
        return [] if self._params is not None and step < self._params.step else self._reconnect()

    def _progress(self, step: int, first: int, *, done: bool = False) -> Reply:
        return Reply(Progress(self._term, self._me.incarnation, step, first, int(done)))

    # --- what the compute thread says

    def _computed(self, event: Computed) -> list[WorkerAction]:
        task, result = event.task, event.result
        if isinstance(result, Failure):
            return self._leave(result.reason, UsageError.exit_code)
        if isinstance(task, PrepareTask):
            assert isinstance(result, Prepared)
            return self._has_prepared(task, result)
        if self._params is None or task.params is not self._params.params:
            return []  # computed with weights that are not asked about any more
        if isinstance(task, GradientTask):
            assert isinstance(result, ShardResult)
            return self._shard_done(self._params, task, result, event.seconds)
        assert isinstance(result, Score)
        return self._scored(self._params, task, result)

    def _has_prepared(self, task: PrepareTask, result: Prepared) -> list[WorkerAction]:
        if self._preparing is not task.welcome:
            return []  # another run was prepared since
        self._preparing, self._prepared = None, (task.welcome, result)
        return self._prove(result) if self._link is Link.PREPARING else []

    def _shard_done(self, params: Params, task: GradientTask, r: ShardResult, seconds: float) -> list[WorkerAction]:
        holding = self._holding
        if holding is None or not holding.awaits(task.shard):
            return []
        tensor = self._fault(r)
        if tensor:
            me, attempt = self._me.incarnation, holding.attempt(task.shard)
            news = NonFinite(self._term, me, task.step, task.shard, attempt, params.digest, tensor, r.digest())
            return [Reply(news), *map(Reply, holding.discard(task.shard))]
        answers = holding.add(task.shard, r, seconds)
        return [*map(Reply, answers)] or [self._progress(task.step, task.shard, done=True)]

    def _fault(self, result: ShardResult) -> str:
        assert self._prepared is not None
        return fault_of(result, self._prepared[1].params, self._prepared[1].buffers)

    def _scored(self, params: Params, task: EvaluationTask, score: Score) -> list[WorkerAction]:
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
                    samples=score.samples,
                    hits=score.hits,
                    hits5=score.hits5,
                    loss=score.loss,
                )
            )
        ]

    # --- for tests

    def validate(self) -> None:
        """Asserts what must hold between any two events."""
        assert (self._welcome is None) == (self._link in (Link.DOWN, Link.GREETING))
        assert self._params is None or self._link is Link.READY
        assert self._params is not None or (self._holding is None and not self._evaluations)
        assert self._prepared is not None or self._link not in (Link.CHECKING, Link.READY)
        if self._holding is not None:
            self._holding.validate()


def _key(params: Params) -> tuple[int, str]:
    return params.step, params.digest


def _same_run(a: Welcome, b: Welcome) -> bool:
    """Whether what was prepared for one serves the other: only the coordinator's life may differ."""
    return replace(a, term=b.term) == b
