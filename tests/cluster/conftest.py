"""Real machines on a toy run; every event that a test feeds is followed by the machine's own invariants."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.actions import altered
from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import Arrived, Child, Computed, Connected, Gone, Received, Send
from dptrain.cluster.messages import (
    PROTOCOL,
    Admitted,
    Assign,
    Canary,
    Evaluate,
    EvaluationDone,
    Hello,
    NodeDone,
    NonFinite,
    Welcome,
)
from dptrain.cluster.round import snapshot
from dptrain.cluster.tree import split
from dptrain.cluster.worker import Worker
from dptrain.state import layout_digest
from simulation.toy import BUFFERS, CANARY, DATASET, NUMERICS, PARAMS, Toy, gradient, score

TERM = 3


class Lead:
    """A coordinator, and the messages that sound workers would send it."""

    def __init__(self, toy: Toy, state=None, **changes):
        self.toy = toy
        self.job = replace(toy.job(TERM), **changes)
        self.machine = Coordinator(self.job, toy.state() if state is None else state, *toy.rules())
        self.now = 100.0

    def feed(self, event):
        actions = self.machine.handle(event, self.now)
        self.machine.validate(self.now)
        return actions

    @property
    def weights(self):
        """The Params message of the current round, the very object that is sent."""
        return self.machine._training.round.params

    def order(self, step, first, last, attempt, shards, alone=0):
        """The Assign message of the current round."""
        return Assign(TERM, step, first, last, attempt, self.weights.digest, shards, alone)

    def non_finite(self, name, shard, tensor="bn.weight", attempt=0, result="nan"):
        """What this worker would send about a shard that holds NaN."""
        state = self.machine.state
        return NonFinite(TERM, self.incarnation(name), state.step, shard, attempt, self.weights.digest, tensor, result)

    def killed(self, name):
        """A worker that the coordinator has started is killed from outside."""
        return self.feed(Gone(Child(name, self.incarnation(name)), "exited with signal 9", shards_suspect=False))

    def incarnation(self, name):
        return (name.encode().hex() * 32)[:32]

    def say(self, name, message):
        return self.feed(Received(name.encode(), message))

    def hello(self, name, /, **changes):
        hello = Hello(PROTOCOL, self.incarnation(name), name, 7, NUMERICS, "toy")
        return self.say(name, replace(hello, **changes))

    def canary(self, name, **changes):
        return self.say(name, replace(Canary(TERM, self.incarnation(name), CANARY, DATASET), **changes))

    def join(self, *names):
        """All say Hello, then all are admitted; returns the actions of the last canary."""
        for name in names:
            self.hello(name)
        return [self.canary(name) for name in names][-1]

    def node(self, name, first, last, **changes):
        """What this worker would send for the node."""
        state = self.machine.state
        result = self._sum(state.params, state.step, first, last)
        message = NodeDone(
            term=TERM,
            incarnation=self.incarnation(name),
            step=state.step,
            first=first,
            last=last,
            attempt=0,
            digest=self.weights.digest,
            seconds=0.5,
            result=result,
        )
        return altered(message, **changes)

    def _sum(self, params, step, first, last):
        if last - first == 1:
            return gradient(params, step, first, len(self.toy.sampler.shard(step, first)))
        middle = split(first, last)
        return self._sum(params, step, first, middle).combine(self._sum(params, step, middle, last))

    def done(self, name, first, last, **changes):
        return self.say(name, self.node(name, first, last, **changes))

    def held(self, name):
        """The nodes the worker has not answered."""
        return [tuple(a.node) for a in self.machine._training.round.book._live[self.incarnation(name)]]

    def finish_step(self, *names):
        """They answer whatever they hold until the step is applied; returns the last actions: the next step's first."""
        step, actions = self.machine.state.step, []
        while self.machine.state.step == step:
            name, node = next((name, node) for name in names for node in self.held(name))
            actions = self.done(name, *node)
        return actions

    def scored(self, name, order: Evaluate, **changes):
        params = self.weights
        result = score(params.params, params.buffers, f"{order.split} {order.index}", order.stop - order.start)
        message = EvaluationDone(
            term=TERM,
            incarnation=self.incarnation(name),
            step=order.step,
            split=order.split,
            index=order.index,
            attempt=order.attempt,
            digest=order.digest,
            result=result,
        )
        return self.say(name, altered(message, **changes))

    def play(self, limit=10_000):
        """Lets one worker, "solo", carry the run to its end; returns all actions."""
        self.hello("solo")
        actions = self.canary("solo")
        todo = list(actions)
        while todo and limit:
            limit -= 1
            action = todo.pop(0)
            if not isinstance(action, Send):
                continue
            message, new = action.message, []
            if isinstance(message, Assign):
                new = self.done("solo", message.first, message.last)
            elif isinstance(message, Evaluate):
                new = self.scored("solo", message)
            actions += new
            todo += new
        return actions


class Hand:
    """A worker that was admitted, and the messages a sound coordinator would send it."""

    def __init__(self, toy: Toy):
        self.toy = toy
        self.me = Hello(PROTOCOL, "0123456789abcdef" * 2, "w0", 7, NUMERICS, "toy")
        self.machine = Worker(self.me)
        self.now = 100.0
        self.welcome = Welcome(TERM, "toy", "{}", DATASET, layout_digest(PARAMS, BUFFERS))

    def feed(self, event):
        actions = self.machine.handle(event, self.now)
        self.machine.validate()
        return actions

    def told(self, message):
        return self.feed(Arrived(message))

    def computed(self, task, result=None, seconds=0.5):
        return self.feed(Computed(task, self.toy.compute(task) if result is None else result, seconds))

    def admit(self):
        self.feed(Connected())
        [prepare] = self.told(self.welcome)
        self.computed(prepare.task)
        self.told(Admitted(TERM))

    def params(self, step, seed=0):
        values = np.random.default_rng(seed).standard_normal(PARAMS.size).astype(np.float32)
        return snapshot(TERM, step, values, np.ones(BUFFERS.size, np.float32))


@pytest.fixture
def lead():
    """Makes a `Lead`: lead(shards=4, ...) with the fields of Toy; `job` holds changes of the Job."""

    def make(*, state=None, job=None, **toy):
        return Lead(Toy(**toy), state, **(job or {}))

    return make


@pytest.fixture
def hand():
    """An admitted worker."""
    hand = Hand(Toy())
    hand.admit()
    return hand


@pytest.fixture
def newcomer():
    """A worker nothing has happened to yet."""
    return Hand(Toy())
