"""Prepared shards on their way from the augmenters to the workers: which augmenter prepares which shard, and both ends.

`Prefetch` decides which shards an augmenter prepares and keeps; it knows no socket and no clock.
A worker asks for a shard ahead of time (WantShard) and takes what has come when it needs it. Neither end waits for the
other: a shard that is missing, late or not what was asked for is prepared by the worker itself, with the same bits.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from dptrain.cluster.codec import HEADER_BYTES, Limits, decode, encode
from dptrain.cluster.messages import PreparedShard, WantShard
from dptrain.errors import RemoteProtocolError, UsageError
from dptrain.net.guard import Guard
from dptrain.net.keys import AUGMENTER, WORKER, Keyring
from dptrain.net.links import land, receive
from dptrain.net.sockets import (
    FAILED,
    clients_fault,
    endpoint,
    harden,
    join,
    largest_frame,
    listener,
    milliseconds,
    queue_bytes,
)
from dptrain.types import U8

if TYPE_CHECKING:
    from dptrain.data.shards import ShardSource  # imports the kernels: half a second

log = logging.getLogger("dptrain.worker")
AHEAD = 3  #: steps that are prepared after the one that was asked for last
BEHIND = 1  #: steps that are kept before it: other workers may still compute them
MOST_AWAITED = 64  #: shards asked for and not taken; of more, the oldest are forgotten (their step is long over)


def augmenter_of(step: int, shard: int, shards_per_step: int, augmenters: int) -> int:
    """The number of the augmenter that prepares this shard: shards go round, in the order of the epoch."""
    return (step * shards_per_step + shard) % augmenters


class Place(NamedTuple):
    """One augmenter among all augmenters of a run."""

    number: int
    of: int


class Prefetch:
    """The prepared shards of one augmenter: its share of AHEAD + BEHIND + 1 steps around the last one asked for."""

    def __init__(self, source: ShardSource, total_steps: int, place: Place) -> None:
        """`total_steps`: of the run. Images come from `source.images`, a pure function of step and shard."""
        self._source, self._total_steps, self._place = source, total_steps, place
        self._shards_per_step = source.sampler.batch_size // source.sampler.shard_size
        self._step = 0
        self._ready: dict[tuple[int, int], U8] = {}

    @property
    def ready(self) -> list[tuple[int, int]]:
        """(step, shard) of what is prepared, in the order of preparation."""
        return list(self._ready)

    def take(self, step: int, shard: int) -> U8 | None:
        """The images, prepared now if they are not yet. None: there is no such shard, or it is another augmenter's."""
        sampler = self._source.sampler
        if not 0 <= step < self._total_steps or not 0 <= shard < sampler.shards(step) or not self._is_ours(step, shard):
            return None
        self._step = step
        low, high = step - BEHIND, step + AHEAD
        self._ready = {key: images for key, images in self._ready.items() if low <= key[0] <= high}
        if (step, shard) not in self._ready:
            self._prepare(step, shard)
        return self._ready[step, shard]

    def prepare_one(self) -> bool:
        """Prepares the next shard that is not ready; False where all are."""
        for step, shard in self._wanted():
            if (step, shard) not in self._ready:
                self._prepare(step, shard)
                return True
        return False

    def _prepare(self, step: int, shard: int) -> None:
        self._ready[step, shard], _ = self._source.images(step, shard)

    def _wanted(self) -> Iterator[tuple[int, int]]:
        shards = self._source.sampler.shards
        for step in range(self._step, min(self._step + AHEAD + 1, self._total_steps)):
            yield from ((step, shard) for shard in range(shards(step)) if self._is_ours(step, shard))

    def _is_ours(self, step: int, shard: int) -> bool:
        return augmenter_of(step, shard, self._shards_per_step, self._place.of) == self._place.number


class ShardServer:
    """An augmenter's end: a ROUTER that answers requests. `address` comes from `bind_address`.

    It sends nothing that was not asked for. Raises UsageError where the address cannot be bound.
    """

    def __init__(self, address: str, identity: str, keys: Keyring | None = None) -> None:
        self._identity = identity
        self._guard: Guard | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = listener(self._context, address, HEADER_BYTES)
        if address.startswith("ipc://"):
            self._socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())
        else:
            self._guard = Guard(self._context, self._socket, keys, (WORKER,), queue_bytes(Limits(0, 0, 0)))
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"--bind {address}: {error.strerror}") from None
        self.endpoint = endpoint(self._socket)

    def wait(self, timeout: float, watch: Sequence[int] = ()) -> None:
        """Returns when a request has come or one of the descriptors is readable, at the latest after `timeout` s."""
        poller = zmq.Poller()
        for item in (self._socket, *watch):
            poller.register(item, zmq.POLLIN)
        if self._guard is not None:
            self._guard.reading()
        poller.poll(milliseconds(timeout))

    def answer(self, take: Callable[[int, int], U8 | None]) -> bool:
        """Answers one request with what `take(step, shard)` returns; None: no answer. Whether there was a request."""
        try:
            peer, *frames = receive(self._socket)
        except zmq.Again:
            return False
        try:
            wanted = decode(land(frames), Limits(0, 0, 0))
        except RemoteProtocolError:
            if self._guard is not None:
                self._guard.cut(frames[0], first=True)
            return True
        if self._guard is not None:
            self._guard.heard(frames[0])
        if isinstance(wanted, WantShard) and wanted.identity == self._identity:
            images = take(wanted.step, wanted.shard)
            if images is not None:
                self._send(peer.bytes, PreparedShard(wanted.step, wanted.shard, images))
        return True

    def _send(self, peer: bytes, message: PreparedShard) -> None:
        try:
            self._socket.send_multipart([peer, *encode(message)], zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return  # this worker does not read: it will prepare the shard itself

    def close(self) -> None:
        """At once; what is not sent yet is lost."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        self._socket.close(linger=0)
        self._context.term()


class ShardClient:
    """A worker's end. `request` is called in the I/O thread, `take` in the compute thread: a lock lets one in."""

    def __init__(
        self,
        addresses: Sequence[str],
        identity: str,
        shards_per_step: int,
        most: tuple[int, ...],
        keys: Keyring | None = None,
    ) -> None:
        """`addresses`: of the augmenters, by number. `identity`: of the run. `most`: (n, h, w, c) of a full shard.

        Raises UsageError where an augmenter's public key is missing.
        """
        self._identity = identity
        self._shards_per_step = shards_per_step
        self._most = most
        self._limits = Limits(0, 0, most[0] * most[1] * most[2] * most[3])
        self._lock = threading.Lock()
        self._awaited: dict[tuple[int, int], U8 | None] = {}  #: (step, shard) -> images; None until they come
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._keys = keys
        self._monitors: list[tuple[str, str, zmq.Socket[bytes]]] = []  #: augmenter, name of our key, monitor
        self._logged: set[str] = set()
        self._addresses = tuple(addresses)
        self._sockets = [self._socket(address, number) for number, address in enumerate(addresses)]
        self._connected: set[int] = set()  #: numbers of augmenters
        self._closed = False

    def _socket(self, address: str, number: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        monitor = socket.get_monitor_socket(FAILED)
        key = join(socket, address, self._keys, AUGMENTER, number)
        self._monitors.append((f"augmenter {number} at {address}", key, monitor))
        harden(socket, address, largest_frame(self._limits))
        # Requests are not stored while an augmenter is away: they would be old when it is back.
        socket.immediate = True
        socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 5_000
        return socket

    def request(self, step: int, shard: int) -> None:
        """Asks for a shard that will be needed soon. Never blocks.

        The first request to an augmenter connects to it, and is lost. To connect earlier would be of no use: the
        augmenter cuts off a connection that sends nothing, and a worker may compile for minutes before its first shard.
        """
        with self._lock:
            if self._closed:
                return
            at = augmenter_of(step, shard, self._shards_per_step, len(self._sockets))
            if at not in self._connected:
                self._connected.add(at)
                self._sockets[at].connect(self._addresses[at])
            try:
                self._sockets[at].send_multipart(encode(WantShard(self._identity, step, shard)), zmq.DONTWAIT)
            except zmq.Again:
                return
            self._awaited[step, shard] = None
            while len(self._awaited) > MOST_AWAITED:
                del self._awaited[next(iter(self._awaited))]

    def take(self, step: int, shard: int, samples: int) -> U8 | None:
        """The images of a shard of so many samples, (samples, h, w, c); None where they have not come. Never blocks.

        A shard is handed out once.
        """
        with self._lock:
            if self._closed:
                return None
            for socket in self._sockets:
                self._receive(socket)
            self._log_refusals()
            images = self._awaited.pop((step, shard), None)
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
            if isinstance(message, PreparedShard) and (message.step, message.shard) in self._awaited:
                self._awaited[message.step, message.shard] = message.images

    def _log_refusals(self) -> None:
        """Logs once why no shards come from an augmenter that refuses this worker, or is refused by it."""
        for augmenter, key, monitor in self._monitors:
            while monitor.poll(0):
                event = recv_monitor_message(monitor)
                fault = f"{augmenter}: {clients_fault(event['event'], event['value'], key)}"
                if fault not in self._logged:
                    log.warning("%s; its shards are prepared here", fault)
                self._logged.add(fault)

    def close(self) -> None:
        """Closes the connections; later calls do nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for socket, (_, _, monitor) in zip(self._sockets, self._monitors, strict=True):
                socket.disable_monitor()
                monitor.close(linger=0)
                socket.close(linger=0)
            self._context.term()
