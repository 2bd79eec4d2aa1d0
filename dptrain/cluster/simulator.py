"""A seeded simulator: one coordinator, any number of workers, a virtual clock, and everything that goes wrong.

Links are ordered and reliable while they last, as ZeroMQ's are; messages are lost only together with their connection.
(Only duplicates are more than ZeroMQ does: they test idempotence.) After every event the machines' own invariants
hold, and the state is the oracle's, bit for bit. One seed replays everything; a failure carries it and the last events.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from math import inf

import numpy as np

from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import (
    Arrived,
    Compute,
    Computed,
    Connected,
    CoordinatorEvent,
    Drop,
    Exit,
    Finish,
    Forget,
    LinkLost,
    PeerGone,
    Received,
    Reconnect,
    Reply,
    SaveCheckpoint,
    Send,
    StopRequested,
    Task,
    Tell,
    Tick,
    WorkerAction,
    WorkerEvent,
)
from dptrain.cluster.reports import Evaluated, Report, StepDone
from dptrain.cluster.state import TrainingState
from dptrain.cluster.toy import BUFFERS, NUMERICS, PARAMS, Expected, Toy
from dptrain.cluster.worker import Identity, Worker
from dptrain.wire.codec import Limits, decode, encode
from dptrain.wire.messages import FromCoordinator, FromWorker

LIMITS = Limits(PARAMS.size, BUFFERS.size, 0)
TICK = 0.5  #: seconds
PATIENCE = 900.0  #: virtual seconds a run may take once nothing goes wrong any more
FAULTS = ("kill", "cut", "pause", "freeze", "join", "leave", "crash", "interrupt")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, in distribution; the seed decides what exactly."""

    toy: Toy = field(default_factory=Toy)
    workers: int = 3
    delay: float = 0.05  #: seconds a message takes at most
    shard_seconds: float = 0.4  #: a shard takes at most, on the fastest worker; the slowest takes 10 x
    duplicates: float = 0.0  #: probability that a message is delivered twice
    faults: tuple[str, ...] = ()  #: of FAULTS
    every: float = 2.0  #: mean seconds between faults
    until: float = 30.0  #: no faults after this time
    checkpoint_every: int = 0


@dataclass(slots=True)
class Link:
    """One connection; a reconnect makes another one."""

    peer: bytes
    up: bool = True
    last: list[float] = field(default_factory=lambda: [0.0, 0.0])  #: latest delivery to coordinator, to worker


@dataclass(slots=True)
class Process:
    """One worker process."""

    name: str
    machine: Worker
    slowness: float
    link: Link | None = None
    alive: bool = True
    paused_until: float = 0.0
    queue: deque[Task] = field(default_factory=deque)
    running: bool = False
    exit_code: int | None = None


class Simulation:
    """One replayable history. `run` it once."""

    def __init__(self, scenario: Scenario, expected: Expected, seed: int) -> None:
        self.scenario, self.expected, self.seed = scenario, expected, seed
        self.now = 0.0
        self._history: list[tuple[float, str, object]] = []  #: every event but ticks
        self.reports: list[Report] = []
        self.processes: list[Process] = []
        self.coordinator: Coordinator | None = None
        self.codes: list[int] = []  #: exit code of each finished life of the coordinator
        self.late = self.duplicate = 0  #: messages that changed nothing, over all lives
        self._rng = np.random.default_rng(seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._term = 0
        self._saved: TrainingState = scenario.toy.state()
        self._links: dict[bytes, tuple[Link, Process]] = {}
        self._applied: list[int] = []  #: steps of StepDone in this life

    @property
    def trace(self) -> list[str]:
        """What happened (ticks left out), a line an event; the same for the same seed."""
        return [_line(*entry) for entry in self._history]

    # --- the clock

    def _at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, what))

    def _chance(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)

    def _up_to(self, seconds: float) -> float:
        return float(self._rng.random()) * seconds

    def run(self) -> None:
        """Until the run is complete; AssertionError (with seed and history) where anything is not as it must be."""
        try:
            self._start_coordinator()
            for _ in range(self.scenario.workers):
                self._at(self._up_to(1.0), self._start_worker)
            if self.scenario.faults:
                self._at(self._up_to(2 * self.scenario.every), self._fault)
            self._at(self.scenario.until, self._relief)
            while not (self.coordinator is not None and self.coordinator.finished and self._settled()):
                self.now, _, what = heapq.heappop(self._heap)
                assert self.now < self.scenario.until + PATIENCE, "the run does not come to its end"
                what()
        except AssertionError as error:
            history = "\n  ".join(_line(*entry) for entry in self._history[-60:])
            raise AssertionError(f"seed {self.seed} at {self.now:.3f} s: {error}\n  {history}") from error

    def _settled(self) -> bool:
        """Whether the run is over, and every worker has heard of it, or cannot."""
        return self._over() and not any(
            p.alive and p.link and p.link.up and p.paused_until < inf for p in self.processes
        )

    def _over(self) -> bool:
        toy = self.scenario.toy
        return self._saved.tested if toy.test else self._saved.step == toy.total_steps

    # --- the coordinator

    def _start_coordinator(self) -> None:
        self._term += 1
        self._applied = []
        job = self.scenario.toy.job(self._term, checkpoint_every=self.scenario.checkpoint_every)
        self.coordinator = Coordinator(job, deepcopy(self._saved), *self.scenario.toy.rules())
        self._history.append((self.now, f"coordinator starts from step {self._saved.step}, term", self._term))
        self._tick_coordinator(self.coordinator)

    def _tick_coordinator(self, machine: Coordinator) -> None:
        if self.coordinator is machine and not machine.finished:
            self._coordinate(Tick())
            self._at(self.now + TICK, lambda: self._tick_coordinator(machine))

    def _coordinate(self, event: CoordinatorEvent) -> None:
        machine = self.coordinator
        if machine is None:
            return
        if not isinstance(event, Tick):
            self._history.append((self.now, "coordinator <-", event))
        actions = machine.handle(event, self.now)
        machine.validate(self.now)
        step = machine.state.step
        assert machine.state.sha256() == self.expected.states[step], f"I2: other bits after step {step}"
        for action in actions:
            match action:
                case Send(peer, message):
                    self._send(peer, message)
                case Drop(peer, _):
                    self._links.pop(peer, None)
                case Tell(report):
                    self._told(report)
                case SaveCheckpoint():
                    self._saved = deepcopy(machine.state)
                case Finish(code, _):
                    self.codes.append(code)
        if machine.finished:
            self._down(machine)

    def _down(self, machine: Coordinator) -> None:
        """A life ends, in good order or not; where work is left, another one follows."""
        self.late += machine.counters.late
        self.duplicate += machine.counters.duplicate
        if machine.finished and self.codes[-1] == 0:
            return
        for link, _ in self._links.values():
            link.up = False
        self._links.clear()
        self.coordinator = None
        self._at(self.now + self._up_to(20.0), self._start_coordinator)

    def _told(self, report: Report) -> None:
        self.reports.append(report)
        self._history.append((self.now, "told", report))
        if isinstance(report, StepDone):
            assert not self._applied or report.step == self._applied[-1] + 1, "I1: steps are applied once, in order"
            self._applied.append(report.step)
            assert report.state_sha256 == self.expected.states[report.step]
            assert report.loss == self.expected.losses[report.step - 1]
        if isinstance(report, Evaluated):
            key = (report.step, report.split, report.loss, report.accuracy, report.best)
            assert key in self.expected.scores, f"{key} is not among {self.expected.scores}"

    def _send(self, peer: bytes, message: FromCoordinator) -> None:
        found = self._links.get(peer)
        if found is None or not found[0].up:
            self._at(self.now, lambda: self._coordinate(PeerGone(peer, "host unreachable")))
            return
        link, process = found
        frames = encode(message)
        self._post(link, 1, lambda: self._deliver_to_worker(process, link, frames))

    def _post(self, link: Link, direction: int, deliver: Callable[[], None]) -> None:
        for _ in range(2 if self._chance(self.scenario.duplicates) else 1):
            link.last[direction] = max(link.last[direction], self.now + self._up_to(self.scenario.delay))
            self._at(link.last[direction], deliver)

    # --- the workers

    def _start_worker(self) -> None:
        incarnation = self._rng.bytes(16).hex()
        name = f"w{len(self.processes)}"
        machine = Worker(Identity(incarnation, name, 100 + len(self.processes), NUMERICS, "toy"), give_up=120.0)
        process = Process(name, machine, slowness=1.0 + self._up_to(9.0))
        self.processes.append(process)
        self._connect(process)
        self._tick_worker(process)

    def _tick_worker(self, process: Process) -> None:
        if process.alive:
            if process.paused_until <= self.now:
                self._work(process, Tick())
            self._at(self.now + TICK, lambda: self._tick_worker(process))

    def _connect(self, process: Process) -> None:
        if process.alive:
            process.link = link = Link(f"peer{self._count}".encode(), up=self.coordinator is not None)
            self._links[link.peer] = (link, process)
            self._work(process, Connected())

    def _work(self, process: Process, event: WorkerEvent) -> None:
        if not process.alive:
            return
        if process.paused_until > self.now:  # what comes in waits, in its order
            self._at(process.paused_until, lambda: self._work(process, event))
            return
        if not isinstance(event, Tick):
            self._history.append((self.now, f"{process.name} <-", event))
        actions = process.machine.handle(event, self.now)
        process.machine.validate()
        for action in actions:
            self._act(process, action)
        assert len(process.queue) <= 2 * self.scenario.toy.shards + 8, f"I5: {process.name} piles up work"

    def _act(self, process: Process, action: WorkerAction) -> None:
        match action:
            case Reply(message):
                self._reply(process, message)
            case Compute(task):
                process.queue.append(task)
                self._compute_next(process)
            case Forget():
                process.queue.clear()
            case Reconnect(delay):
                if process.link is not None:
                    process.link.up = False
                process.link = None
                self._at(self.now + delay, lambda: self._connect(process))
            case Exit(code, _):
                self._end(process, code)

    def _reply(self, process: Process, message: FromWorker) -> None:
        link = process.link
        assert link is not None, f"{process.name} sends {message} without a connection"
        frames = encode(message)
        self._post(link, 0, lambda: self._deliver_to_coordinator(link, frames))

    def _compute_next(self, process: Process) -> None:
        if process.running or not process.queue:
            return
        task, process.running = process.queue.popleft(), True
        seconds = process.slowness * self._up_to(self.scenario.shard_seconds)

        def done() -> None:
            if not process.alive:
                return
            if process.paused_until > self.now:
                self._at(process.paused_until, done)
                return
            process.running = False
            self._work(process, Computed(task, self.scenario.toy.compute(task), seconds))
            self._compute_next(process)

        self._at(self.now + seconds, done)

    def _end(self, process: Process, code: int) -> None:
        """The process is no more; what it had sent before may still arrive."""
        process.alive, process.exit_code = False, code
        assert code in (0, 75, 143, 137), f"{process.name} exits with {code}"
        if code in (75, 137) or (code == 0 and not self._over()):
            self._at(self.now + self._up_to(10.0), self._start_worker)

    # --- the wire

    def _deliver_to_worker(self, process: Process, link: Link, frames: list[bytes | memoryview]) -> None:
        if not (process.alive and link.up and process.link is link):
            return
        if process.paused_until > self.now:  # what comes in waits, in its order
            self._at(process.paused_until, lambda: self._deliver_to_worker(process, link, frames))
            return
        message = decode([bytearray(frame) for frame in frames], LIMITS)
        self._work(process, Arrived(message))  # type: ignore[arg-type]  # the codec's union holds both directions

    def _deliver_to_coordinator(self, link: Link, frames: list[bytes | memoryview]) -> None:
        if link.up and link.peer in self._links:
            message = decode([bytearray(frame) for frame in frames], LIMITS)
            self._coordinate(Received(link.peer, message))  # type: ignore[arg-type]  # as above

    # --- what goes wrong

    def _fault(self) -> None:
        if self.now >= self.scenario.until:
            return
        kind = self.scenario.faults[int(self._rng.integers(len(self.scenario.faults)))]
        living = [p for p in self.processes if p.alive]
        self._history.append((self.now, "fault", kind))
        if kind == "join":
            if len(living) < 7:
                self._start_worker()
        elif kind == "crash":
            if self.coordinator is not None and not self.coordinator.finished:
                self._down(self.coordinator)
        elif kind == "interrupt":
            self._coordinate(StopRequested("SIGTERM"))
        elif living:
            self._hurt(living[int(self._rng.integers(len(living)))], kind)
        self._at(self.now + self._up_to(2 * self.scenario.every), self._fault)

    def _hurt(self, process: Process, kind: str) -> None:
        link = process.link
        if kind == "pause":
            process.paused_until = self.now + self._up_to(40.0)
        elif kind == "freeze":  # its connection stays: only a lease can find out
            process.paused_until = inf
        elif kind == "leave":
            self._work(process, StopRequested("SIGTERM"))
        elif link is not None:  # "cut", or "kill", which cuts too
            link.up = False
            if self._chance(0.5):  # else it is noticed at the next send
                self._at(self.now + self._up_to(1.0), lambda: self._coordinate(PeerGone(link.peer, "reset")))
            if kind == "cut" and self._chance(0.5):  # else the silence is noticed
                self._at(self.now + self._up_to(1.0), lambda: self._lose(process, link))
        if kind == "kill":
            self._end(process, 137)

    def _lose(self, process: Process, link: Link) -> None:
        if process.link is link:
            self._work(process, LinkLost("reset"))

    def _relief(self) -> None:
        """From here on nothing goes wrong, and somebody is there (who still lives may be about to leave)."""
        self._start_worker()


def _line(when: float, what: str, value: object) -> str:
    return f"{when:.3f} {what} {_brief(value)}"


def _brief(value: object) -> str:
    """One line; of arrays only that there is one."""
    if isinstance(value, np.ndarray):
        return "[...]"
    if not is_dataclass(value):
        return repr(value)
    return f"{type(value).__name__}({', '.join(_brief(getattr(value, item.name)) for item in fields(value))})"
