"""Real sockets, threads and processes; every wait ends when something happens, or fails after a deadline."""

import itertools
import os

import numpy as np
import pytest
import zmq

from dptrain.cluster.codec import Limits
from dptrain.cluster.messages import PROTOCOL, Hello, Params
from dptrain.net.address import bind_address
from dptrain.net.links import DealerLink, RouterLink
from simulation.toy import BUFFERS, PARAMS
from waiting import until

LIMITS = Limits(PARAMS.size, BUFFERS.size, 0)


def collect(link, count=1):
    """The first `count` events of a link."""
    events = []

    def enough():
        events.extend(link.poll(0.2))
        return len(events) >= count

    until(enough)
    return events


def hello(name="w0"):
    return Hello(PROTOCOL, (name.encode().hex() * 32)[:32], name, 7, "toy-v1", "toy")


def params(step=0, size=PARAMS.size):
    values = np.arange(size, dtype=np.float32) + step
    return Params(1, step, "0" * 16, values, np.ones(BUFFERS.size, np.float32))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def links():
    """links.router(bind, limits), links.dealer(router), and what tests say and wait for; closed after the test."""

    class Links:
        until, collect, hello, params, descriptors = map(staticmethod, (until, collect, hello, params, descriptors))

        def __init__(self):
            self.open = []
            self.strangers = []

        def router(self, bind="ipc", limits=LIMITS):
            self.open.append(RouterLink(bind_address(bind, insecure=False), limits))
            return self.open[-1]

        def dealer(self, router, limits=LIMITS):
            link = DealerLink(router if isinstance(router, str) else router.endpoint)
            self.open.append(link)
            link.know(limits)
            link.open()
            return link

        def stranger(self, router):
            """A DEALER without any of our manners."""
            context = zmq.Context()
            socket = context.socket(zmq.DEALER)
            socket.linger = 0
            socket.connect(router.endpoint)
            self.strangers.append((socket, context))
            return socket

        def acquainted(self, router, name="w0", limits=LIMITS):
            """A dealer the router has heard of, and its name there."""
            link = self.dealer(router, limits)
            link.send(hello(name))
            [event] = collect(router)
            assert event.message == hello(name)
            return link, event.peer

    made = Links()
    yield made
    for link in made.open:
        link.close()
    for socket, context in made.strangers:
        socket.close()
        context.term()


@pytest.fixture
def names():
    """Fresh names."""
    numbers = itertools.count()
    return lambda: f"dptrain-test-{os.getpid()}-{next(numbers)}"
