"""Both ends of the connection between the coordinator and a worker: a ROUTER and a DEALER. They decide nothing.

Each connection keeps its messages in order: "weights of step 8" cannot arrive after "compute step 8". libzmq names the
peers of the ROUTER; a worker that reconnects is a new peer, and the coordinator asks it who it is. Therefore the DEALER
never uses a lost connection again: a monitor reports every loss, and `open` makes a fresh socket. ZMQ_IMMEDIATE is not
set there: with it libzmq 4.3.5 discards messages that have arrived, including the final Stop, when the peer closes
(measured: 1 of 4 runs).
"""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from dptrain.cluster.codec import Limits, decode, encode
from dptrain.cluster.events import THE_COORDINATOR, Arrived, Gone, Peer, Received
from dptrain.cluster.messages import AskConfig, FromCoordinator, FromWorker, Message, Params
from dptrain.errors import RemoteProtocolError, UsageError
from dptrain.net.address import abstract_name
from dptrain.net.guard import Guard
from dptrain.net.keys import AUGMENTER, COORDINATOR, WORKER, Keyring, role_of
from dptrain.net.sockets import (
    FAILED,
    HIGH_WATER,
    UNKNOWN_BYTES,
    clients_fault,
    endpoint,
    harden,
    join,
    largest_frame,
    listener,
    milliseconds,
    queue_bytes,
)

BATCH = 64  #: messages per poll, so that the loop looks at its clock
REMEMBERED = 4096  #: ignored peers; a stranger that reconnects again and again must not fill the memory
MOST_FRAMES = 4  #: kept of one message: header, at most two arrays, and one that is too many
LINE = 64  #: bytes; NumPy's and our vector loops treat arrays that are not aligned to it differently
RETRY_MS, LONGEST_RETRY_MS = 100, 2_000  #: between attempts to connect while no process listens there
CLOSED = "the connection is closed"

_Frames: TypeAlias = list[zmq.Frame]


def receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """The next message. Raises zmq.Again if there is none. A message may have millions of frames: those beyond the most
    that a message of dptrain has are thrown away as they come.
    """
    frame = socket.recv(zmq.DONTWAIT, copy=False)
    frames = [frame]
    while frame.more:
        frame = socket.recv(copy=False)
        if len(frames) <= MOST_FRAMES:  # plus one for the name of the peer
            frames.append(frame)
    return frames


def whole(frames: list[zmq.Frame]) -> list[bytes | memoryview]:
    """The frames of a message in libzmq's memory: the header as bytes; arrays read-only, with any alignment.

    For the coordinator, which only adds them: copying 1 MB into fresh pages takes longer than adding it.
    """
    return [frames[0].bytes, *(frame.buffer for frame in frames[1:])] if frames else []


def land(frames: list[zmq.Frame]) -> list[bytes | memoryview]:
    """Like `whole`, but copied: arrays are writable and start on 64-byte boundaries, as kernels need."""
    header, *arrays = whole(frames) or [b""]
    return [header, *map(_aligned, arrays)]


def _aligned(buffer: bytes | memoryview) -> memoryview:
    size = len(buffer)
    raw = np.empty(size + LINE, np.uint8)
    at = -raw.ctypes.data % LINE
    out = raw[at : at + size]
    out[:] = np.frombuffer(buffer, np.uint8)
    return out.data


class RouterLink:
    """A `CoordinatorLink` over ipc or tcp; `address` is from `bind_address`. With keys, only their holders may use tcp.

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
