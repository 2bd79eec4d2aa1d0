"""One simulated history: real machines, a virtual clock, and everything that goes wrong.

A link is ordered, and reliable unless a fault says otherwise, as ZeroMQ's are; lost or duplicated single messages are
more than ZeroMQ does. After every event the machines' own invariants hold. I1: steps are applied once, in order. I2:
the state is that of `dptrain.loop`, bit for bit. I3: a term has one coordinator, and an earlier one writes nothing.
I4: once the faults end, the run ends in time. I5: no queue grows without bound. One seed replays everything; a
failure reports the seed and the last events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, is_dataclass
from math import inf

import numpy as np

from dptrain.cluster.codec import Limits, decode, encode
from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import (
    THE_COORDINATOR,
    Arrived,
    CancelTasks,
    Compute,
    Computed,
    Connected,
    CoordinatorEvent,
    Ended,
    Evaluated,
    Gone,
    Ignore,
    Received,
    Reconnect,
    Reply,
    Report,
    SaveCheckpoint,
    Send,
    StepDone,
    TakenBack,
    Tell,
    Tick,
    WorkerAction,
    WorkerEvent,
)
from dptrain.cluster.messages import PROTOCOL, FromCoordinator, FromWorker, Hello
from dptrain.cluster.worker import Worker
from dptrain.errors import RemoteProtocolError
from simulation.actors import TO_COORDINATOR, TO_WORKER, Clock, Disk, Life, Link, Process, Scenario
from simulation.toy import BUFFERS, NUMERICS, PARAMS, Expected

LIMITS = Limits(PARAMS.size, BUFFERS.size, 0)
TICK = 1.0  #: seconds
PATIENCE = 2_000.0  #: virtual seconds a run may take once nothing goes wrong any more
MOST_QUEUED = 400  #: events in the queue: messages on their way, ticks, faults
RESTARTS = (75, 137, 70)  #: exit codes after which the process is started again


class World:
    """Clock, network, disk and processes of one history; `Simulation` adds the faults."""

    def __init__(self, scenario: Scenario, expected: Expected, seed: int) -> None:
        self.scenario, self.expected, self.seed = scenario, expected, seed
        self.now = 0.0
        self.reports: list[Report] = []
        self.processes: list[Process] = []
        self.life: Life | None = None  #: the newest life of the coordinator; None while it is down
        self.lives: list[Life] = []
        self.codes: list[int] = []  #: exit code of each finished life
        self.outdated = self.duplicate = self.agreed = self.disputed = self.quarantined = 0  #: over all lives
        self.disk = Disk(scenario.toy.state())
        self.events = 0
        self.history: list[tuple[float, str, object]] = []  #: every event but ticks
        self._rng = np.random.default_rng(seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def trace(self) -> list[str]:
        """What happened (without ticks), one line per event; the same for the same seed."""
        return [_line(*entry) for entry in self.history]

    # --- the clock

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Something happens later."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, what))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return probability > 0.0 and bool(self._rng.random() < probability)

    def up_to(self, seconds: float) -> float:
        """Uniform from 0."""
        return float(self._rng.random()) * seconds

    def below(self, number: int) -> int:
        """A whole number from 0."""
        return int(self._rng.integers(number))

    def note(self, what: str, value: object) -> None:
        """Into the history."""
        self.history.append((self.now, what, value))

    def play(self) -> None:
        """Until the run is complete; AssertionError (with seed and history) where anything is not as it must be."""
        limit = max(self.now, self.scenario.until) + PATIENCE
        try:
            while not self.settled:
                self._next()
                assert self.now < limit, "I4: the run does not come to its end"
        except AssertionError as error:
            history = "\n  ".join(_line(*entry) for entry in self.history[-60:])
            raise AssertionError(f"seed {self.seed} at {self.now:.3f} s: {error}\n  {history}") from error

    def begin(self) -> None:
        """The first life of the coordinator, and the first workers."""
        self.start_coordinator()
        for _ in range(self.scenario.workers):
            self.at(self.up_to(1.0), self.start_worker)

    def pass_time(self, seconds: float) -> None:
        """All that happens in so many seconds, or until the run is complete."""
        until = self.now + seconds
        while not self.settled and self._heap[0][0] <= until:
            self._next()

    def _next(self) -> None:
        self.now, _, what = heapq.heappop(self._heap)
        assert len(self._heap) < MOST_QUEUED, "I5: events pile up"
        what()
        self.events += 1

    @property
    def settled(self) -> bool:
        """Whether the run is over, and every worker has heard of it, or cannot."""
        return self.over and not any(p.alive and p.link and p.link.up and p.paused_until < inf for p in self.processes)

    @property
    def over(self) -> bool:
        """Whether the complete run is on the disk, and its coordinator has gone."""
        if self.life is not None and self.life.alive:
            return False
        toy, state = self.scenario.toy, self.disk.newest
        return state.tested if toy.test else state.step == toy.total_steps

    # --- the coordinator

    def start_coordinator(self) -> None:
        """A new life, on what is on the disk."""
        scenario, disk = self.scenario, self.disk
        term = disk.next_term()
        assert all(life.term < term for life in self.lives), "I3: two lives of one term"
        job = scenario.toy.job(term, checkpoint_every=scenario.checkpoint_every, audit=scenario.audit)
        machine = Coordinator(job, disk.load(), *scenario.toy.rules())
        self.life = Life(term, machine, Clock())
        self.lives.append(self.life)
        self.note(f"coordinator starts from step {machine.state.step}, term", term)
        self._tick_coordinator(self.life)

    def _tick_coordinator(self, life: Life) -> None:
        if life.alive:
            self.coordinate(life, Tick())
            self.at(self.now + TICK, lambda: self._tick_coordinator(life))

    def coordinate(self, life: Life, event: CoordinatorEvent) -> None:
        """The coordinator handles an event."""
        if not life.alive:
            return
        machine, now = life.machine, life.clock.read(self.now)
        if not isinstance(event, Tick):
            self.note(f"coordinator {life.term} <-", event)
        actions = machine.handle(event, now)
        machine.validate(now)
        step = machine.state.step
        if step != life.checked:
            assert machine.state.sha256() == self.expected.states[step], f"I2: other bits after step {step}"
            life.checked = step
        for action in actions:
            match action:
                case Send(peer, message):
                    self._send(life, peer, message)
                case Ignore(peer, _):
                    life.links.pop(peer, None)
                case Tell(report):
                    self._reported(life, report)
                case SaveCheckpoint():
                    self._save(life, deepcopy(machine.state))
                case Ended(code, _):
                    self._finish(life, code)
        if life.code is not None and not machine.parting(now):
            self.down(life, life.code)
        self._wake(life)

    def _wake(self, life: Life) -> None:
        """A tick when the coordinator asks for one, as its loop does."""
        now = life.clock.read(self.now)
        due = life.machine.wake_at(now)
        if due is not None and now < due != life.wake:
            life.wake = due
            self.at(self.now + (due - now) / life.clock.rate, lambda: self.coordinate(life, Tick()))

    def _save(self, life: Life, state: object) -> None:
        """Handed to the writer; a newer one takes the place of one that still waits."""
        idle = life.waiting is None
        life.waiting = state  # type: ignore[assignment]  # deepcopy of a TrainingState
        if idle:
            self.at(self.now + self.up_to(1.0), lambda: self._write(life))

    def _write(self, life: Life) -> None:
        if not life.alive or life.waiting is None:
            return
        try:
            written = self.disk.write(life.term, life.waiting)
        except PermissionError:
            self.down(life, 75)
            return
        if written:
            life.waiting = None
        else:
            self.at(self.now + 1.0, lambda: self._write(life))

    def _finish(self, life: Life, code: int) -> None:
        """The last checkpoint is written before the process ends; where that fails, it ends with an error."""
        if life.waiting is not None:
            try:
                code = code if self.disk.write(life.term, life.waiting) else 75
            except PermissionError:
                code = 75
            life.waiting = None
        life.code = code

    def down(self, life: Life, code: int) -> None:
        """A life ends, in good order or not; where work is left, another one follows."""
        counters = life.machine.counters
        self.outdated += counters.outdated
        self.duplicate += counters.duplicate
        self.agreed += counters.agreed
        self.disputed += counters.disputed
        self.quarantined += counters.quarantined
        self.codes.append(code)
        life.alive, life.waiting = False, None
        for link in life.links.values():  # what is still on its way is lost
            link.up = False
        life.links.clear()
        if self.life is life:
            self.life = None
            if not self.over:
                self.at(self.now + self.up_to(20.0), self._restart_coordinator)

    def _restart_coordinator(self) -> None:
        if self.life is None:
            self.start_coordinator()

    def _reported(self, life: Life, report: Report) -> None:
        self.reports.append(report)
        self.note("told", report)
        if isinstance(report, TakenBack):
            assert report.step == life.applied - 1, "I1: only the step applied last is taken back"
            life.applied = report.step
        if isinstance(report, StepDone):
            assert life.applied < 0 or report.step == life.applied + 1, "I1: steps are applied once, in order"
            life.applied = report.step
            assert report.state_sha256 == self.expected.states[report.step]
            assert report.loss == self.expected.losses[report.step - 1]
        if isinstance(report, Evaluated):
            key = (report.step, report.split, report.loss, report.accuracy, report.best)
            assert key in self.expected.scores, f"{key} is not among {self.expected.scores}"

    def _send(self, life: Life, peer: bytes, message: FromCoordinator) -> None:
        link = life.links.get(peer)
        if link is None or not link.up:
            self.at(self.now, lambda: self.coordinate(life, Gone(peer, "host unreachable")))
            return
        self._post(link, TO_WORKER, message)

    # --- the wire

    def _post(self, link: Link, direction: int, message: FromWorker | FromCoordinator) -> None:
        process = link.process
        if self.now < process.lossy_until and self.chance(0.3):
            return
        dark = process.dark_until[direction]
        if self.now < dark and process.dark_loses:
            return
        frames = [bytearray(frame) for frame in encode(message)]
        if process.corrupt and self.chance(0.5):
            process.corrupt -= 1
            self._damage(frames)
        delay = self.scenario.delay * (50.0 if self.now < process.slow_until else 1.0)
        deliver = self._deliver_to_worker if direction == TO_WORKER else self._deliver_to_coordinator
        for _ in range(2 if self.chance(self.scenario.duplicates) else 1):
            link.last[direction] = max(link.last[direction], dark, self.now + self.up_to(delay))
            self.at(link.last[direction], lambda: deliver(link, frames))

    def _damage(self, frames: list[bytearray]) -> None:
        frame = frames[self.below(len(frames))]
        if frame:
            frame[self.below(len(frame))] ^= 1 << self.below(8)

    def _deliver_to_worker(self, link: Link, frames: list[bytearray]) -> None:
        process = link.process
        if not (process.alive and link.up and process.link is link):
            return
        if process.paused_until > self.now:  # what comes in waits, in its order
            if process.paused_until < inf:  # else it is never read
                self.at(process.paused_until, lambda: self._deliver_to_worker(link, frames))
            return
        try:
            message = decode([bytearray(frame) for frame in frames], LIMITS)
        except RemoteProtocolError as error:
            self.work(process, Gone(THE_COORDINATOR, str(error)))
            return
        self.work(process, Arrived(message))  # type: ignore[arg-type]  # the codec's union holds both directions

    def _deliver_to_coordinator(self, link: Link, frames: list[bytearray]) -> None:
        life = link.life
        if not (link.up and link.peer in life.links):
            return
        try:
            message = decode([bytearray(frame) for frame in frames], LIMITS)
        except RemoteProtocolError as error:
            del life.links[link.peer]
            self.coordinate(life, Gone(link.peer, f"dropped: {error}"))
            return
        self.coordinate(life, Received(link.peer, message))  # type: ignore[arg-type]  # as above

    # --- the workers

    def start_worker(self) -> None:
        """A new process."""
        incarnation = self._rng.bytes(16).hex()
        name = f"w{len(self.processes)}"
        hello = Hello(PROTOCOL, incarnation, name, 100 + len(self.processes), NUMERICS, "toy")
        fixed = self.scenario.slowness
        slowness = 1.0 + self.up_to(self.scenario.slowest - 1.0)
        process = Process(
            hello,
            Worker(hello, give_up=120.0),
            fixed[len(self.processes)] if len(self.processes) < len(fixed) else slowness,
        )
        if len(self.processes) < self.scenario.wrong:
            process.wrong_since = self.up_to(self.scenario.until)
        self.processes.append(process)
        self._connect(process)
        self._tick_worker(process)

    def _tick_worker(self, process: Process) -> None:
        if process.alive:
            if process.paused_until <= self.now:
                self.work(process, Tick())
            self.at(self.now + TICK, lambda: self._tick_worker(process))

    def _connect(self, process: Process) -> None:
        if not process.alive:
            return
        life = self.life or self.lives[-1]
        process.link = link = Link(f"peer{self._count}".encode(), process, life, up=life.alive)
        if life.alive:
            life.links[link.peer] = link
        self.work(process, Connected())

    def work(self, process: Process, event: WorkerEvent) -> None:
        """The worker handles an event."""
        if not process.alive:
            return
        if process.paused_until > self.now:  # what comes in waits, in its order
            if process.paused_until < inf:
                self.at(process.paused_until, lambda: self.work(process, event))
            return
        if not isinstance(event, Tick):
            self.note(f"{process.hello.name} <-", event)
        actions = process.machine.handle(event, process.clock.read(self.now))
        process.machine.validate()
        for action in actions:
            self._act(process, action)
        assert len(process.queue) <= 2 * self.scenario.toy.shards + 8, f"I5: {process.hello.name} piles up work"

    def _act(self, process: Process, action: WorkerAction) -> None:
        match action:
            case Reply(message):
                assert process.link is not None, f"{process.hello.name} sends {message} without a connection"
                self._post(process.link, TO_COORDINATOR, message)
            case Compute(task):
                process.queue.append(task)
                self._compute_next(process)
            case CancelTasks():
                process.queue.clear()
            case Reconnect(delay):
                if process.link is not None:
                    process.link.up = False
                    process.link = None
                self.at(self.now + delay, lambda: self._connect(process))
            case Ended(code, _):
                self.end(process, code)

    def _compute_next(self, process: Process) -> None:
        if process.running or not process.queue:
            return
        task, process.running = process.queue.popleft(), True
        most = process.slowness * self.scenario.shard_seconds
        seconds = most if self.scenario.slowness else self.up_to(most)

        def done() -> None:
            if not process.alive:
                return
            if process.paused_until > self.now:
                if process.paused_until < inf:
                    self.at(process.paused_until, done)
                return
            process.running = False
            compute = self.scenario.toy.compute_wrongly if self.now > process.wrong_since else self.scenario.toy.compute
            self.work(process, Computed(task, compute(task), seconds))
            self._compute_next(process)

        self.at(self.now + seconds, done)

    def end(self, process: Process, code: int) -> None:
        """The process is no more; what it had sent before may still arrive."""
        process.alive, process.exit_code = False, code
        assert code in (0, 75, 143, 137) or (code == 78 and process.wrong_since < inf), (
            f"{process.hello.name} ends with {code}"
        )
        if code in RESTARTS or (code == 0 and not self.over):
            self.at(self.now + self.up_to(10.0), self.start_worker)


def _line(when: float, what: str, value: object) -> str:
    return f"{when:.3f} {what} {_brief(value)}"


def _brief(value: object) -> str:
    """One line; of arrays only that there is one."""
    if isinstance(value, np.ndarray):
        return "[...]"
    if not is_dataclass(value):
        return repr(value)
    return f"{type(value).__name__}({', '.join(_brief(getattr(value, item.name)) for item in fields(value))})"
