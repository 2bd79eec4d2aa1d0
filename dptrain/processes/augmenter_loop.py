"""An augmenter's sockets: asks the coordinator for the run, then answers workers' requests and prepares ahead."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import zmq

from dptrain.cluster.codec import HEADER_BYTES, Limits, decode, encode
from dptrain.cluster.events import Gone, StopRequested
from dptrain.cluster.messages import PROTOCOL, AskConfig, PreparedShard, Reject, WantShard, Welcome
from dptrain.errors import ConnectionLostError, RefusedError, RemoteProtocolError, UsageError
from dptrain.net.dealer import DealerLink
from dptrain.net.feed import augmenter_of
from dptrain.net.guard import Guard
from dptrain.net.keys import WORKER, Keyring
from dptrain.net.sockets import endpoint, land, listener, queue_bytes, receive
from dptrain.processes.stopping import StopSource
from dptrain.types import U8

AHEAD = 3  #: steps beyond the one that was asked for last
BEHIND = 1  #: steps before it: other workers may still be in them


class Place(NamedTuple):
    """One augmenter among all of a run."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to prepare: pure functions of the run's identity."""

    images: Callable[[int, int], U8]  #: (step, shard) -> prepared images
    shards: Callable[[int], int]  #: of a step
    shards_per_step: int  #: of a full one
    total_steps: int


class Window:
    """Prepared shards around the step that was asked for last; at most AHEAD + BEHIND + 1 steps of our share."""

    def __init__(self, work: Work, place: Place) -> None:
        self._work, self._place = work, place
        self._step = 0
        self._ready: dict[tuple[int, int], U8] = {}

    def __len__(self) -> int:
        return len(self._ready)

    def take(self, step: int, shard: int) -> U8 | None:
        """The images, prepared now where they are not yet; None where the shard does not exist or is another's."""
        work = self._work
        if not 0 <= step < work.total_steps or not 0 <= shard < work.shards(step) or not self._is_ours(step, shard):
            return None
        self._move(step)
        if (step, shard) not in self._ready:
            self._ready[step, shard] = work.images(step, shard)
        return self._ready[step, shard]

    def prepare_one(self) -> bool:
        """Prepares the next shard of the window; False where all are ready."""
        for key in self._ours():
            if key not in self._ready:
                self._ready[key] = self._work.images(*key)
                return True
        return False

    def _move(self, step: int) -> None:
        self._step = step
        low, high = step - BEHIND, step + AHEAD
        self._ready = {key: images for key, images in self._ready.items() if low <= key[0] <= high}

    def _ours(self) -> Iterator[tuple[int, int]]:
        for step in range(self._step, min(self._step + AHEAD + 1, self._work.total_steps)):
            yield from ((step, shard) for shard in range(self._work.shards(step)) if self._is_ours(step, shard))

    def _is_ours(self, step: int, shard: int) -> bool:
        return augmenter_of(step, shard, self._work.shards_per_step, self._place.of) == self._place.number


PATIENCE = 60.0  #: seconds without the coordinator before an augmenter ends
ANSWER = 5.0  #: seconds for an answer before a new connection is tried
log = logging.getLogger("dptrain.augmenter")


def ask_for_run(link: DealerLink, stop: StopSource) -> Welcome | StopRequested:
    """The run; the link stays open. Raises ConnectionLostError after PATIENCE, RefusedError at once."""
    deadline = time.monotonic() + PATIENCE
    fault = ""
    while time.monotonic() < deadline:
        link.shut()
        link.open()
        link.send(AskConfig(PROTOCOL))
        retry = time.monotonic() + ANSWER
        while time.monotonic() < retry:
            events = link.poll(min(0.25, retry - time.monotonic()), stop.filenos)
            request = stop.take()
            if request is not None:
                return request
            for event in events:
                if isinstance(event, Gone):
                    if event.reason != fault:
                        log.warning("no connection to the coordinator: %s; trying again", event.reason)
                    fault = event.reason
                    retry = min(retry, time.monotonic() + 0.2)
                elif isinstance(event.message, Reject):
                    raise RefusedError(f"the coordinator refuses this augmenter: {event.message.reason}")
                elif isinstance(event.message, Welcome):
                    return event.message
    cause = f" (last: {fault})" if fault else ""
    raise ConnectionLostError(f"the coordinator does not answer: is it running, and is --connect its address?{cause}")


class ShardServer:
    """The ROUTER workers ask. `address` comes from `bind_address`; it never sends what was not asked for."""

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

    def register(self, poller: zmq.Poller) -> None:
        """Readable when somebody asks."""
        poller.register(self._socket, zmq.POLLIN)

    def answer(self, window: Window) -> bool:
        """Answers one request, if there is one; whether there was."""
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
            images = window.take(wanted.step, wanted.shard)
            if images is not None:
                self._send([peer.bytes, *encode(PreparedShard(wanted.step, wanted.shard, images))])
        return True

    def _send(self, frames: list[Any]) -> None:
        try:
            self._socket.send_multipart(frames, zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return  # it does not read: it will prepare the shard itself

    def close(self) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        self._socket.close(linger=0)
        self._context.term()


class CoordinatorWatch:
    """Asks anew where the connection is lost, and says when the run is over for an augmenter."""

    def __init__(self, link: DealerLink, welcome: Welcome) -> None:
        self._link, self._welcome = link, welcome
        self._lost: float | None = None  #: since when
        self._ask_at: float | None = None  #: when to open the next connection
        self.reason = ""  #: why it is over

    def goes_on(self) -> bool:
        """Never blocks; call it a few times a second."""
        now = time.monotonic()
        for event in self._link.poll(0):
            if isinstance(event, Gone):
                self._lost = self._lost or now
                self._ask_at = now + 0.5
            elif isinstance(event.message, Welcome):
                if event.message.identity != self._welcome.identity:
                    self.reason = "the coordinator has begun another run"
                self._lost = self._ask_at = None
        if self._lost is not None and now - self._lost >= PATIENCE:
            self.reason = f"the coordinator has been gone for {PATIENCE:.0f} s"
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at = now + ANSWER
            self._link.shut()
            self._link.open()
            self._link.send(AskConfig(PROTOCOL))
        return not self.reason


def serve(server: ShardServer, window: Window, stop: StopSource, watch: CoordinatorWatch) -> StopRequested:
    """Until somebody wants it to stop or the run is over; the answer is who or why."""
    poller = zmq.Poller()
    server.register(poller)
    for fd in stop.filenos:
        poller.register(fd, zmq.POLLIN)
    next_look = 0.0
    busy = True
    while True:
        poller.poll(0 if busy else 250)
        request = stop.take()
        if request is not None:
            return request
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + 0.25
            if not watch.goes_on():
                return StopRequested(watch.reason)
        busy = server.answer(window) or window.prepare_one()
