"""Who acts in a simulated history: worker processes, lives of the coordinator, connections between them. Data only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import Task
from dptrain.cluster.state import TrainingState
from dptrain.cluster.worker import Worker
from dptrain.wire.messages import Hello

TO_COORDINATOR, TO_WORKER = 0, 1  #: directions


@dataclass(slots=True)
class Clock:
    """A process's own: never backwards, but fast or slow, and it may leap. Nobody else's decisions depend on it."""

    rate: float = 1.0
    _at: float = 0.0
    _shows: float = 0.0

    def read(self, now: float) -> float:
        """What it shows at the true time `now`."""
        return self._shows + (now - self._at) * self.rate

    def change(self, now: float, rate: float, leap: float) -> None:
        """From now on it runs at another rate, `leap` seconds ahead."""
        self._shows, self._at, self.rate = self.read(now) + leap, now, max(rate, 0.1)


@dataclass(slots=True, eq=False)
class Life:
    """One life of the coordinator."""

    term: int
    machine: Coordinator
    clock: Clock
    links: dict[bytes, Link] = field(default_factory=dict)
    applied: int = -1  #: step of the last StepDone
    checked: int = -1  #: step whose state was compared with the oracle's
    alive: bool = True
    wake: float = -1.0  #: the last time it asked to be woken at
    waiting: TrainingState | None = None  #: checkpoint that is not durable yet
    code: int | None = None  #: exit code, once it is only there until everybody has heard that the run is over


@dataclass(slots=True, eq=False)
class Link:
    """One connection; a reconnect makes another one."""

    peer: bytes
    process: Process
    life: Life
    up: bool = True
    last: list[float] = field(default_factory=lambda: [0.0, 0.0])  #: latest delivery, by direction


@dataclass(slots=True, eq=False)
class Process:
    """One worker process."""

    hello: Hello
    machine: Worker
    slowness: float
    clock: Clock = field(default_factory=Clock)
    link: Link | None = None
    alive: bool = True
    paused_until: float = 0.0
    dark_until: list[float] = field(default_factory=lambda: [0.0, 0.0])  #: nothing gets through, by direction
    dark_loses: bool = False  #: what is sent meanwhile is lost; else it arrives when it is light again
    lossy_until: float = 0.0
    corrupt: int = 0  #: messages to be damaged
    slow_until: float = 0.0  #: its link takes 50 x as long
    queue: deque[Task] = field(default_factory=deque)
    running: bool = False
    exit_code: int | None = None
    wrong_since: float = float("inf")
