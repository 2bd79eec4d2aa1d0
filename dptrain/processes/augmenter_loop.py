"""What an augmenter does: it asks the coordinator for the run, prepares shards ahead, and answers workers' requests.

`Prefetch` decides which shards are prepared and kept; it knows no socket and no clock. The rest decides when an
augmenter begins and ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from dptrain.cluster.events import Gone, StopRequested
from dptrain.cluster.messages import PROTOCOL, AskConfig, Reject, Welcome
from dptrain.errors import ConnectionLostError, RefusedError
from dptrain.net.dealer import DealerLink
from dptrain.net.prepared import ShardServer, augmenter_of
from dptrain.processes.stopping import StopSource
from dptrain.types import U8

if TYPE_CHECKING:
    from dptrain.data.shards import ShardSource  # imports the kernels: half a second

AHEAD = 3  #: steps that are prepared after the one that was asked for last
BEHIND = 1  #: steps that are kept before it: other workers may still compute them
PATIENCE = 60.0  #: seconds without the coordinator after which an augmenter ends
ANSWER = 5.0  #: seconds for an answer before a new connection is tried
LOOK = 0.25  #: seconds between two looks at the coordinator
log = logging.getLogger("dptrain.augmenter")


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


def ask_for_run(link: DealerLink, stop: StopSource) -> Welcome | StopRequested:
    """The run, or the signal that came first; the link stays open.

    Raises ConnectionLostError after PATIENCE seconds, RefusedError at once.
    """
    deadline = time.monotonic() + PATIENCE
    fault = ""
    while time.monotonic() < deadline:
        link.shut()
        link.open()
        link.send(AskConfig(PROTOCOL))
        retry = time.monotonic() + ANSWER
        while time.monotonic() < retry:
            events = link.poll(min(LOOK, retry - time.monotonic()), stop.filenos)
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


class CoordinatorWatch:
    """Finds out when the run is over for an augmenter; asks again where the connection is lost."""

    def __init__(self, link: DealerLink, welcome: Welcome) -> None:
        self._link, self._welcome = link, welcome
        self._lost: float | None = None  #: since when
        self._ask_at: float | None = None  #: when to open the next connection
        self.reason = ""  #: why the run is over

    def goes_on(self) -> bool:
        """Whether the run goes on. Never blocks; to be called a few times per second."""
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


def serve(server: ShardServer, prefetch: Prefetch, stop: StopSource, watch: CoordinatorWatch) -> StopRequested:
    """Answers requests, and prepares ahead while there are none, until a signal comes or the run is over."""
    next_look = 0.0
    busy = True
    while True:
        server.wait(0.0 if busy else LOOK, stop.filenos)
        request = stop.take()
        if request is not None:
            return request
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + LOOK
            if not watch.goes_on():
                return StopRequested(watch.reason)
        busy = server.answer(prefetch.take) or prefetch.prepare_one()
