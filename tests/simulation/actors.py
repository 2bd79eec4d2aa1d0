"""The actors of a simulated history: worker processes, lives of the coordinator, their connections. Data only."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from dataclasses import dataclass, field

from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import Task
from dptrain.cluster.messages import Hello
from dptrain.cluster.worker import Worker
from dptrain.state import TrainingState
from simulation.toy import Toy

#: of one worker
WORKER_FAULTS = ("kill", "cut", "pause", "freeze", "leave", "partition", "oneway", "lossy", "corrupt", "clock", "slow")
#: of the coordinator, its disk, the whole
OTHER_FAULTS = ("join", "crash", "interrupt", "usurp", "full", "rot", "leap")
FAULTS = WORKER_FAULTS + OTHER_FAULTS


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of history."""

    toy: Toy = field(default_factory=Toy)
    workers: int = 3
    delay: float = 0.05  #: seconds a message takes at most
    shard_seconds: float = 0.4  #: a shard takes at most, on the fastest worker
    slowest: float = 10.0  #: times as long it takes at most, on the slowest one
    slowness: tuple[float, ...] = ()  #: of the first workers, exactly; then every shard takes exactly as long
    duplicates: float = 0.0  #: probability that a message is delivered twice
    faults: tuple[str, ...] = ()  #: of FAULTS
    every: float = 2.0  #: mean seconds between faults
    until: float = 30.0  #: no faults after this time
    checkpoint_every: int = 0
    audit: float = 0.0
    wrong: int = 0  #: workers, of those at the start, that one day begin to compute wrong bits


def mixed(seed: int) -> Scenario:
    """A different scenario for each seed: 1-6 workers, 1-9 shards, all kinds of runs and faults."""
    toy = Toy(
        shards=1 + seed % 9,
        steps_per_epoch=2,
        epochs=1 + seed % 3,
        validation=0 if seed % 5 == 0 else 20,
        test=0 if seed % 7 == 0 else 17,
    )
    return Scenario(
        toy=toy,
        workers=1 + seed % 6,
        duplicates=0.05 * (seed % 2),
        faults=FAULTS if seed % 3 else (FAULTS[seed % len(FAULTS)], FAULTS[seed // 3 % len(FAULTS)]),
        every=(0.7, 2.0)[seed % 2],
        until=(4.0, 8.0, 16.0)[seed // 2 % 3],
        checkpoint_every=seed % 4,
        audit=(0.0, 0.0, 0.3, 1.0)[seed // 5 % 4],
    )


KEPT = 3  #: checkpoints


@dataclass(slots=True)
class Version:
    """One checkpoint that is durable."""

    term: int
    state: TrainingState
    whole: bool = True


class Disk:
    """What outlives every process."""

    def __init__(self, first: TrainingState) -> None:
        self.term = 0
        self.full = False
        self._first = first
        self._versions: list[Version] = []  #: oldest first
        self.refused = 0  #: writes of coordinators that had been succeeded

    def next_term(self) -> int:
        """Counted and durable before anything else happens in a life."""
        self.term += 1
        return self.term

    def write(self, term: int, state: TrainingState) -> bool:
        """A checkpoint, whole or not at all; False where the disk is full. PermissionError: `term` is over."""
        if term != self.term:
            self.refused += 1
            raise PermissionError(f"term {term} is over: {self.term} has begun")
        if self.full:
            return False
        self._versions.append(Version(term, state))
        del self._versions[:-KEPT]
        return True

    def rot(self) -> None:
        """The newest checkpoint is damaged; never the last one that is whole."""
        whole = [v for v in self._versions if v.whole]
        if len(whole) > 1:
            whole[-1].whole = False

    @property
    def newest(self) -> TrainingState:
        """The newest whole checkpoint; the beginning where there is none. Not to be changed."""
        return max((v.state for v in reversed(self._versions) if v.whole), key=lambda s: s.step, default=self._first)

    def load(self) -> TrainingState:
        """A copy of it."""
        return deepcopy(self.newest)


TO_COORDINATOR, TO_WORKER = 0, 1  #: directions


@dataclass(slots=True)
class Clock:
    """A process's own: never backwards, but fast or slow, and it may leap. No other process depends on it."""

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
    checked: int = -1  #: step whose state was compared with the loop's
    alive: bool = True
    wake: float = -1.0  #: the last time it asked to be woken at
    waiting: TrainingState | None = None  #: checkpoint that is not durable yet
    code: int | None = None  #: exit code, while it only waits until all workers have heard that the run is over


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
