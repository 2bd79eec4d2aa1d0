"""The worker's socket: one DEALER, and a monitor that tells when its connection closes. No decisions.

A connection is never used again once it was lost: a DEALER that reconnects by itself is a new peer to the ROUTER. So
every loss is reported, and `open` makes a fresh socket. Not IMMEDIATE: with it libzmq 4.3.5 discards messages that
have arrived, the final Stop among them, when the peer closes (1 of 4 runs, measured).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import recv_monitor_message

from dptrain.cluster.codec import Limits, decode, encode
from dptrain.cluster.events import THE_COORDINATOR, Arrived, Gone
from dptrain.cluster.messages import FromCoordinator, FromWorker
from dptrain.errors import RemoteProtocolError
from dptrain.net.keys import COORDINATOR, Keyring
from dptrain.net.sockets import (
    FAILED,
    HIGH_WATER,
    UNKNOWN_BYTES,
    clients_fault,
    harden,
    land,
    largest_frame,
    milliseconds,
    receive,
)


def join(socket: zmq.Socket[bytes], address: str, keys: Keyring | None, role: str, number: int | None = None) -> str:
    """Encrypts what goes to a server of this role, and lets nobody else pose as it. Only tcp needs it.

    Gives the name of our key, "" where none is used. Raises UsageError where the server's public key is missing.
    """
    if keys is None or not address.startswith("tcp://"):
        return ""
    socket.curve_serverkey = keys.server(role, number)
    socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
    return keys.name


RETRY_MS, LONGEST_RETRY_MS = 100, 2_000  #: between attempts to connect, while nobody listens there yet
BATCH = 64  #: messages of one poll

CLOSED = "the connection is closed"


class DealerLink:
    """A `WorkerLink` over ipc or tcp. `address` comes from `connect_address`. Closed until `open`."""

    elsewhere = True

    def __init__(self, address: str, keys: Keyring | None = None) -> None:
        self.endpoint, self._keys = address, keys
        self._key = ""  #: name of the key in use
        self._limits = Limits(0, 0, 0)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pair: tuple[zmq.Socket[bytes], zmq.Socket[bytes]] | None = None  #: DEALER, its monitor
        self._fault = ""

    def know(self, limits: Limits) -> None:
        """Holds for the connection there is, and for later ones."""
        self._limits = limits

    def open(self) -> None:
        """ZeroMQ connects in the background and goes on trying; the first messages wait for it."""
        assert self._pair is None, "the old connection is still open"
        self._fault = ""
        socket = self._context.socket(zmq.DEALER)
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | FAILED)
        self._pair = socket, monitor
        self._key = join(socket, self.endpoint, self._keys, COORDINATOR)
        largest = largest_frame(self._limits) if self._limits.params else UNKNOWN_BYTES
        harden(socket, self.endpoint, largest)
        socket.reconnect_ivl, socket.reconnect_ivl_max = RETRY_MS, LONGEST_RETRY_MS
        socket.connect(self.endpoint)

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Arrived | Gone]:
        """Messages first, then the loss of the connection they came over."""
        poller = zmq.Poller()
        for item in (*(self._pair or ()), *watch):
            poller.register(item, zmq.POLLIN)
        poller.poll(0 if self._fault else milliseconds(timeout))
        if self._pair is None:
            return []
        socket, monitor = self._pair
        # The monitor first: what arrived before the loss is then surely there to be read.
        self._fault = self._fault or self._seen(monitor)
        events: list[Arrived | Gone] = []
        while len(events) < BATCH or self._fault:
            try:
                frames = receive(socket)
            except zmq.Again:
                break
            event = self._event(frames)
            events.append(event)
            if isinstance(event, Gone):
                self.shut()
                return events
        if self._fault:
            events.append(Gone(THE_COORDINATOR, self._fault))
            self.shut()
        return events

    def _seen(self, monitor: zmq.Socket[bytes]) -> str:
        """What has befallen the connection; "" for nothing."""
        if not monitor.poll(0):
            return ""
        news = recv_monitor_message(monitor)
        kind = news["event"]
        return CLOSED if kind == zmq.EVENT_DISCONNECTED else clients_fault(kind, news["value"], self._key)

    def _event(self, frames: list[zmq.Frame]) -> Arrived | Gone:
        try:
            message = decode(land(frames), self._limits)
        except RemoteProtocolError as error:
            return Gone(THE_COORDINATOR, f"the coordinator sent what is no message: {error}")
        if not isinstance(message, FromCoordinator):
            return Gone(
                THE_COORDINATOR, f"the coordinator sent {type(message).__name__}, which is no message to a worker"
            )
        return Arrived(message)

    def send(self, message: FromWorker) -> None:
        """Without a copy. Ignored where the connection is shut: its loss has been reported."""
        if self._pair is None:
            return
        try:
            self._pair[0].send_multipart(encode(message), zmq.DONTWAIT, copy=False)
        except zmq.Again:  # also where the handshake failed for good: libzmq has no queue then
            self._fault = (
                self._seen(self._pair[1]) or f"the coordinator does not read: {HIGH_WATER} messages wait for it"
            )
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self._fault = CLOSED

    def shut(self, flush: float = 0.0) -> None:
        """Does not block; what is not sent yet goes out in the background for `flush` seconds."""
        if self._pair is None:
            return
        socket, monitor = self._pair
        self._pair = None
        socket.disable_monitor()
        monitor.close(linger=0)
        socket.close(linger=int(flush * 1000))

    def close(self, flush: float = 0.0) -> None:
        """Blocks for at most `flush` seconds."""
        self.shut(flush)
        self._context.term()
