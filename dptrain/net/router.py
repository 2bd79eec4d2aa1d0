"""The coordinator's socket: one ROUTER for control, weights and gradients. It decides nothing.

Each connection keeps its messages in order: "weights of step 8" cannot arrive after "compute step 8". libzmq names the
peers; a worker that reconnects is a new peer, and the coordinator asks it who it is.
"""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeAlias

import zmq

from dptrain.cluster.codec import Limits, decode, encode
from dptrain.cluster.events import Gone, Peer, Received
from dptrain.cluster.messages import AskConfig, FromCoordinator, FromWorker, Message, Params
from dptrain.errors import RemoteProtocolError, UsageError
from dptrain.net.address import abstract_name
from dptrain.net.guard import Guard
from dptrain.net.keys import AUGMENTER, WORKER, Keyring, role_of
from dptrain.net.sockets import HIGH_WATER, endpoint, largest_frame, listener, milliseconds, queue_bytes, receive, whole

BATCH = 64  #: messages per poll, so that the loop looks at its clock
REMEMBERED = 4096  #: ignored peers; a stranger that reconnects again and again must not fill the memory

_Frames: TypeAlias = list[zmq.Frame]


class RouterLink:
    """A `CoordinatorLink` over ipc or tcp; `address` is from `bind_address`. With keys, tcp admits their holders only.

    Workers elsewhere connect to `endpoint`. The children of this process connect to `near`: with keys, that is an
    abstract Unix socket that needs none.
    """

    def __init__(self, address: str, limits: Limits, keys: Keyring | None = None) -> None:
        self._limits = limits
        self._ignored: OrderedDict[Peer, None] = OrderedDict()
        self._weights: tuple[Params, _Frames] | None = None  #: the last Params sent, and its frames
        self._sent = self._received = 0  #: bytes
        self.woken = time.monotonic()
        self._keyed = keys is not None and address.startswith("tcp://")
        self._guard: Guard | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = listener(self._context, address, largest_frame(self._limits))
        try:
            self._socket.router_mandatory = True
            self.near = self._bind(abstract_name("near")) if self._keyed else ""
            if address.startswith("tcp://"):
                self._guard = Guard(self._context, self._socket, keys, (WORKER, AUGMENTER), queue_bytes(self._limits))
            self.endpoint = self._bind(address)
        except BaseException:
            self.close()
            raise
        self.near = self.near or self.endpoint

    def _bind(self, address: str) -> str:
        """Binds; returns the address with the port the system chose. Socket options set before it apply."""
        if address.startswith("ipc://"):
            self._socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            raise UsageError(f"--bind {address}: {_bind_fault(error)}") from None
        return endpoint(self._socket)

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes of frames sent and received so far, including refused ones."""
        return self._sent, self._received

    def poll(self, timeout: float, watch: Sequence[int] = ()) -> list[Received | Gone]:
        """At most BATCH messages. A peer that sends anything but valid messages of a worker is ignored."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        for fd in watch:
            poller.register(fd, zmq.POLLIN)
        if self._guard is not None:
            self._guard.reading()
        poller.poll(milliseconds(timeout))
        self.woken = time.monotonic()
        events: list[Received | Gone] = []
        for _ in range(BATCH):
            try:
                peer, *frames = receive(self._socket)
            except zmq.Again:
                break
            self._received += sum(map(len, frames))
            event = self._event(peer.bytes, frames)
            if event is not None:
                events.append(event)
        return events

    def _event(self, peer: Peer, frames: _Frames) -> Received | Gone | None:
        if peer in self._ignored:
            if self._guard is not None:
                self._guard.cut(frames[0], first=False)
            return None
        try:
            message = self._admissible(decode(whole(frames), self._limits), frames)
        except RemoteProtocolError as error:
            self.ignore(peer)
            if self._guard is not None:
                self._guard.cut(frames[0], first=True)
            return Gone(peer, f"dropped: {error}")
        if self._guard is not None:
            self._guard.heard(frames[0])
        return Received(peer, message)

    def _admissible(self, message: Message, frames: _Frames) -> FromWorker:
        """The message. Raises RemoteProtocolError if it is not for a coordinator, or this key may not send it."""
        name = type(message).__name__
        if not isinstance(message, FromWorker):
            raise RemoteProtocolError(f"{name} is not a message to a coordinator")
        if self._keyed and not isinstance(message, AskConfig):
            holder = _holder(frames[0])
            if holder and role_of(holder) != WORKER:
                raise RemoteProtocolError(f"{name} from the holder of {holder}'s key, who is not a worker")
        return message

    def send(self, peer: Peer, message: FromCoordinator) -> Gone | None:
        """Params are encoded once; all peers share the frames without a copy."""
        frames = self._frames(message)
        try:
            self._socket.send_multipart([peer, *frames], zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return Gone(peer, f"does not read: {HIGH_WATER} messages wait for it")
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return Gone(peer, "the connection is closed")
        self._sent += sum(map(len, frames))
        return None

    def _frames(self, message: FromCoordinator) -> Sequence[Any]:
        if not isinstance(message, Params):
            return encode(message)
        if self._weights is None or self._weights[0] is not message:
            self._weights = (message, [zmq.Frame(frame, copy=False) for frame in encode(message)])
        return self._weights[1]

    def ignore(self, peer: Peer) -> None:
        """Ignores the peer from now on. (libzmq 4.3 cannot close one connection of a ROUTER; `Guard` can.)"""
        self._ignored[peer] = None
        if len(self._ignored) > REMEMBERED:
            self._ignored.popitem(last=False)

    def close(self, flush: float = 0.0) -> None:
        """Blocks for at most `flush` seconds, even if a peer has stopped reading."""
        self._weights = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        self._socket.close(linger=int(flush * 1000))
        self._context.term()


def _holder(frame: zmq.Frame) -> str:
    """The name of the key of the connection that a frame came over; "" without one, that is over `near`."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def _bind_fault(error: zmq.ZMQError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the address is in use by another process: stop it, or choose another port (0: any free one)"
        case errno.EADDRNOTAVAIL | errno.ENODEV:
            return "not an address of this machine; bind to one of its own (127.0.0.1, 0.0.0.0), not to a name"
        case errno.EACCES:
            return "not permitted; ports below 1024 need root"
        case _:
            return str(error.strerror)
