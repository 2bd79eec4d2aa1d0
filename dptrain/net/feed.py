"""A worker's end of the augmenters: asks for prepared shards ahead of time, takes what has come. Never waits.

A shard that is missing, late or not what was asked for is simply not there: the worker prepares it in place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import recv_monitor_message

from dptrain.cluster.codec import Limits, decode, encode
from dptrain.cluster.messages import PreparedShard, WantShard
from dptrain.errors import RemoteProtocolError
from dptrain.net.dealer import join
from dptrain.net.keys import AUGMENTER, Keyring
from dptrain.net.sockets import FAILED, clients_fault, harden, land, largest_frame, receive
from dptrain.types import U8

log = logging.getLogger("dptrain.worker")
WAITING = 64  #: shards asked for and not taken; more are forgotten, oldest first (their step is long over)


def augmenter_of(step: int, shard: int, shards_per_step: int, augmenters: int) -> int:
    """Whose shard it is: they go round, in the order of the epoch."""
    return (step * shards_per_step + shard) % augmenters


class Feed:
    """Asked from the I/O thread, taken from in the compute thread: a lock lets one of them at the sockets."""

    def __init__(
        self,
        addresses: Sequence[str],
        identity: str,
        shards_per_step: int,
        most: tuple[int, ...],
        keys: Keyring | None = None,
    ) -> None:
        """`identity`: of the run. `most`: (samples of a full shard, h, w, c).

        Raises UsageError where an augmenter's public key is missing.
        """
        self._identity = identity
        self._shards_per_step = shards_per_step
        self._most = most
        self._limits = Limits(0, 0, most[0] * most[1] * most[2] * most[3])
        self._lock = threading.Lock()
        self._wanted: dict[tuple[int, int], U8 | None] = {}  #: (step, shard) -> images, None until they come
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._keys = keys
        self._monitors: list[tuple[str, str, zmq.Socket[bytes]]] = []  #: who, our key's name, monitor
        self._told: set[str] = set()
        self._sockets = [self._connect(address, number) for number, address in enumerate(addresses)]
        self._closed = False

    def _connect(self, address: str, number: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        monitor = socket.get_monitor_socket(FAILED)
        key = join(socket, address, self._keys, AUGMENTER, number)
        self._monitors.append((f"augmenter {number} at {address}", key, monitor))
        harden(socket, address, largest_frame(self._limits))
        socket.immediate = True  # no requests in store for an augmenter that is away: they would be old when it is back
        socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 5_000
        socket.connect(address)
        return socket

    def request(self, step: int, shard: int) -> None:
        """The shard will be needed soon."""
        with self._lock:
            if self._closed:
                return
            at = augmenter_of(step, shard, self._shards_per_step, len(self._sockets))
            try:
                self._sockets[at].send_multipart(encode(WantShard(self._identity, step, shard)), zmq.DONTWAIT)
            except zmq.Again:
                return
            self._wanted[step, shard] = None
            while len(self._wanted) > WAITING:
                del self._wanted[next(iter(self._wanted))]

    def take(self, step: int, shard: int, samples: int) -> U8 | None:
        """The images of a shard of so many samples, (samples, h, w, c), if they have come. Once."""
        with self._lock:
            if self._closed:
                return None
            for socket in self._sockets:
                self._receive(socket)
            self._watch()
            images = self._wanted.pop((step, shard), None)
        if images is None or images.shape != (samples, *self._most[1:]):
            return None
        return images

    def _receive(self, socket: zmq.Socket[bytes]) -> None:
        while True:
            try:
                frames = receive(socket)
            except zmq.Again:
                return
            try:
                message = decode(land(frames), self._limits)
            except RemoteProtocolError:
                continue
            if isinstance(message, PreparedShard) and (message.step, message.shard) in self._wanted:
                self._wanted[message.step, message.shard] = message.images

    def _watch(self) -> None:
        """Says, once, why there are no shards from an augmenter that refuses us, or that we refuse."""
        for who, key, monitor in self._monitors:
            while monitor.poll(0):
                event = recv_monitor_message(monitor)
                fault = f"{who}: {clients_fault(event['event'], event['value'], key)}"
                if fault not in self._told:
                    log.warning("%s; its shards are prepared here", fault)
                self._told.add(fault)

    def close(self) -> None:
        """Gives the connections back; later calls do nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for socket, (_, _, monitor) in zip(self._sockets, self._monitors, strict=True):
                socket.disable_monitor()
                monitor.close(linger=0)
                socket.close(linger=0)
            self._context.term()
