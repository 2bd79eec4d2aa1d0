"""What an augmenter does: it asks the coordinator for the run, answers workers' requests, and prepares shards ahead.

Here is decided when an augmenter begins and ends; `net.prepared` decides which shards are prepared and kept.
"""

from __future__ import annotations

import logging
import time

from dptrain.cluster.events import Gone, StopRequested
from dptrain.cluster.messages import PROTOCOL, AskConfig, Reject, Welcome
from dptrain.errors import ConnectionLostError, RefusedError
from dptrain.net.links import DealerLink
from dptrain.net.prepared import Prefetch, ShardServer
from dptrain.processes.stopping import StopSource

PATIENCE = 60.0  #: seconds without the coordinator after which an augmenter ends
ANSWER = 5.0  #: seconds for an answer before a new connection is tried
LOOK = 0.25  #: seconds between two looks at the coordinator
log = logging.getLogger("dptrain.augmenter")


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
