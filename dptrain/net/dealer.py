"""The worker's socket: one DEALER, and a monitor that reports when its connection closes. It decides nothing.

A lost connection is never used again: a DEALER that reconnects by itself is a new peer to the ROUTER. So every loss is
reported, and `open` makes a fresh socket. ZMQ_IMMEDIATE is not set: with it libzmq 4.3.5 discards messages that have
arrived, including the final Stop, when the peer closes (measured: 1 of 4 runs).
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
    """Sets the keys of a tcp connection to a server of this role: it is encrypted, and the server is authenticated.

    Returns the name of the own key, "" without one. Raises UsageError if the server's public key is missing.
    """
    if keys is None or not address.startswith("tcp://"):
        return ""
    socket.curve_serverkey = keys.server(role, number)
    socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
    return keys.name


RETRY_MS, LONGEST_RETRY_MS = 100, 2_000  #: between attempts to connect while no process listens there
BATCH = 64  #: messages per poll

CLOSED = "the connection is closed"


class DealerLink:
    """A `WorkerLink` over ipc or tcp. `address` comes from `connect_address`. It is closed until `open`."""

    elsewhere = True

    def __init__(self, address: str, keys: Keyring | None = None) -> None:
        self.endpoint, self._keys = address, keys
        self._key = ""  #: name of the key in use
        self._limits = Limits(0, 0, 0)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pair: tuple[zmq.Socket[bytes], zmq.Socket[bytes]] | None = None  #: DEALER, its monitor
        self._fault = ""

    def know(self, limits: Limits) -> None:
        """For the current connection and all later ones."""
        self._limits = limits

    def open(self) -> None:
        """ZeroMQ connects in the background and keeps trying; the first messages wait until it is connected."""
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
        """The messages, then the loss of the connection they came over."""
        poller = zmq.Poller()
        for item in (*(self._pair or ()), *watch):
            poller.register(item, zmq.POLLIN)
        poller.poll(0 if self._fault else milliseconds(timeout))
        if self._pair is None:
            return []
        socket, monitor = self._pair
        # The monitor first: then everything that arrived before the loss is there to be read.
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
        """Why the connection is lost; "": it is not."""
        if not monitor.poll(0):
            return ""
        news = recv_monitor_message(monitor)
        kind = news["event"]
        return CLOSED if kind == zmq.EVENT_DISCONNECTED else clients_fault(kind, news["value"], self._key)

    def _event(self, frames: list[zmq.Frame]) -> Arrived | Gone:
        try:
            message = decode(land(frames), self._limits)
        except RemoteProtocolError as error:
            return Gone(THE_COORDINATOR, f"the coordinator sent an invalid message: {error}")
        if not isinstance(message, FromCoordinator):
            return Gone(
                THE_COORDINATOR, f"the coordinator sent {type(message).__name__}, which is not a message to a worker"
            )
        return Arrived(message)

    def send(self, message: FromWorker) -> None:
        """Sends without a copy. Does nothing if the connection is shut: its loss has been reported."""
        if self._pair is None:
            return
        try:
            self._pair[0].send_multipart(encode(message), zmq.DONTWAIT, copy=False)
        except zmq.Again:  # also after a handshake that failed for good: libzmq has no queue then
            self._fault = (
                self._seen(self._pair[1]) or f"the coordinator does not read: {HIGH_WATER} messages wait for it"
            )
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self._fault = CLOSED

    def shut(self, flush: float = 0.0) -> None:
        """Does not block. Messages that are not sent yet go out in the background for up to `flush` seconds."""
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
