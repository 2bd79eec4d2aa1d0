"""A guarded port and its clients: workers with keys, without keys, with wrong keys, and strangers of every kind."""

import logging
import socket

import numpy as np
import pytest
import zmq

from dptrain.cluster.codec import Limits
from dptrain.cluster.events import Arrived, Gone
from dptrain.cluster.messages import PROTOCOL, Hello, Params, Ping
from dptrain.net import keystore
from dptrain.net.keys import open_keyring
from dptrain.net.links import DealerLink, RouterLink
from simulation.toy import BUFFERS, PARAMS
from waiting import until

LIMITS = Limits(PARAMS.size, BUFFERS.size, 0)


def hello(name="w0"):
    return Hello(PROTOCOL, (name.encode().hex() * 32)[:32], name, 7, "toy-v1", "toy")


class Port:
    """A coordinator's ROUTER on the loopback, and what comes to it. Everything is closed after the test."""

    until, hello = staticmethod(until), staticmethod(hello)

    def __init__(self, store):
        self.store = store
        self.router = None
        self.open = []
        self.strangers = []

    def keys(self, name):
        return open_keyring(str(self.store / name), name.split("-")[0])

    def listen(self, *, keyed=True, limits=LIMITS):
        keys = self.keys("coordinator") if keyed else None
        self.limits = limits
        self.router = RouterLink("tcp://127.0.0.1:0", limits, keys)
        self.open.append(self.router)
        return self.router

    @property
    def address(self):
        host, _, port = self.router.endpoint.removeprefix("tcp://").rpartition(":")
        return host, int(port)

    def worker(self, name="worker-1", *, address=None, keyed=True, greeting=None):
        """A link that has said Hello."""
        link = DealerLink(address or self.router.endpoint, self.keys(name) if keyed else None)
        self.open.append(link)
        link.know(self.limits)
        link.open()
        link.send(greeting or hello(name))
        return link

    def admitted(self, name="worker-1", **how):
        """The link of a worker the router has heard of, and its name there."""
        link = self.worker(name, **how)
        [event] = until(lambda: self.router.poll(0.1))
        return link, event.peer

    def lost(self, link):
        """Why a link gets no further. The router is polled meanwhile: it must not hear a thing."""

        def reason():
            assert self.router.poll(0.01) == []
            return [e.reason for e in link.poll(0.05) if isinstance(e, Gone)]

        return until(reason, seconds=5.0)[0]

    def complaint(self, link, said):
        """The guard's first line, within the 5 seconds it is promised in. Like a worker's, the link tries again."""

        def once():
            link.shut()
            link.open()
            link.poll(0.3)
            return said()

        return until(lambda: said() or once(), seconds=5.0)[0]

    def talks(self, link, peer):
        """Messages go both ways."""
        self.router.send(peer, Ping(3))
        assert Arrived(Ping(3)) in until(lambda: self.router.poll(0.01) + link.poll(0.1))
        link.send(hello("again"))
        events = until(lambda: self.router.poll(0.1))
        return [e.message.name for e in events if e.peer == peer] == ["again"]

    def stranger(self, source="127.0.0.1"):
        """A TCP connection from another address of this machine's, that speaks no ZeroMQ, yet."""
        connection = socket.create_connection(self.address, 5, (source, 0))
        self.strangers.append(connection)
        return connection

    def dealer(self):
        """A DEALER without any of our manners, and no key."""
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        self.open.append(Closing(dealer, context))
        dealer.connect(self.router.endpoint)
        return dealer

    def close(self):
        for link in self.open:
            link.close()
        for connection in self.strangers:
            connection.close()


class Closing:
    """A bare socket with its context."""

    def __init__(self, bare, context):
        self.bare, self.context = bare, context

    def close(self):
        self.bare.close()
        self.context.destroy(linger=0)  # a monitor too that a red test left open: term() would wait for it for ever


@pytest.fixture
def params():
    """Weights of a step, with a pattern that would be seen on the wire."""
    values = np.full(PARAMS.size, np.frombuffer(b"WEIG", np.float32)[0])
    return Params(1, 0, "0" * 16, values, np.ones(BUFFERS.size, np.float32))


@pytest.fixture
def port(tmp_path):
    """Not listening yet; port.store is where its keys lie."""
    for name in ("coordinator", "augmenter", "worker-1", "worker-2"):
        keystore.new(tmp_path / "keys", name)
    made = Port(tmp_path / "keys")
    yield made
    made.close()


@pytest.fixture
def said(caplog):
    """said() -> the lines the guard has written so far."""
    caplog.set_level(logging.WARNING, "dptrain.guard")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "dptrain.guard"]
