"""One long run over tcp whose workers join, die, pause and return all the time: what it takes must not grow, and its
bits are those of the undisturbed run.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from simulation import traces
from simulation.processes import Group, free_port, hit, until
from simulation.recipe import FLAGS, differences, other_hashes, undisturbed

GROWS = {"metrics.jsonl", "hashes.jsonl", "summary.csv", "coordinator.log"}  #: a line for every step, epoch or event


@dataclass(frozen=True)
class Figures:
    """At one moment."""

    minute: float
    step: int
    processes: int  #: of the run
    coordinator_mb: float
    coordinator_descriptors: int
    coordinator_threads: int
    veteran_mb: float  #: of the worker that is only paused, never killed
    veteran_descriptors: int
    sockets: int  #: Unix sockets with a name that the processes of the run hold
    kept_kb: float  #: of the run directory, without what grows with the steps by design
    records_kb: float  #: what does
    unfinished: int  #: temporary files


def measure(minute: float, run: Path, pids: list[int], coordinator: int, veteran: int) -> Figures:
    """`pids`: all of the run; the two others are looked at closely."""
    sizes = {path: path.stat().st_size for path in run.rglob("*") if path.is_file()}
    records = sum(size for path, size in sizes.items() if path.name in GROWS)
    return Figures(
        minute=round(minute, 1),
        step=traces.step(run),
        processes=len(pids),
        coordinator_mb=_status(coordinator, "VmRSS") / 1024,
        coordinator_descriptors=_descriptors(coordinator),
        coordinator_threads=_status(coordinator, "Threads"),
        veteran_mb=_status(veteran, "VmRSS") / 1024,
        veteran_descriptors=_descriptors(veteran),
        sockets=len(traces.sockets_of(pids)),
        kept_kb=round((sum(sizes.values()) - records) / 1024, 1),
        records_kb=round(records / 1024, 1),
        unfinished=len(traces.unfinished(run)),
    )


def growth(early: Figures, late: Figures) -> list[str]:
    """What has grown where nothing should; [] for nothing. A worker more or less is allowed for."""
    bounds = {
        "coordinator_mb": 1.15 * early.coordinator_mb + 20,
        "coordinator_descriptors": early.coordinator_descriptors + 8,
        "coordinator_threads": early.coordinator_threads + 2,
        "veteran_mb": 1.15 * early.veteran_mb + 20,
        "veteran_descriptors": early.veteran_descriptors + 4,
        "sockets": early.sockets + 4,
        "kept_kb": 1.2 * early.kept_kb + 64,
        "unfinished": 1,  # the checkpoint that is being written
    }
    return [
        f"{name} grew from {getattr(early, name):g} to {getattr(late, name):g}"
        for name, bound in bounds.items()
        if getattr(late, name) > bound
    ]


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


RUN = ["--epochs", 100_000, "--eval-every", 5, "--hash-every", 50, "--checkpoint-every", 50]
WORKERS = 3  #: there are at most so many beside the veteran
PAUSE = 2.0  #: mean seconds between two events
SETTLED = 300  #: steps until the run keeps as many checkpoints as it ever will, the best one included
LIMIT = 600.0  #: seconds until then
#: Seconds at the end in which the veteran is not paused. After the end it would look for the coordinator for a minute.
AWAKE = 45.0


def endure(folder: Path, seed: int, minutes: float) -> list[str]:
    """Prints figures as it goes and a summary; what is wrong, [] for nothing.

    Then the undisturbed run has as many steps to go, so that the last hash can be compared: that takes about as long
    once more.
    """
    undisturbed(folder, "warm", *RUN, "--max-steps", 1)  # compiles: a worker waits a minute for an answer, no longer
    soak = _Soak(folder, seed)
    try:
        faults = soak.run(60 * minutes)
    finally:
        left = soak.group.end()
    if left:
        faults.append(f"{len(left)} processes outlived the run")
    faults += [f"left behind: {name}" for name in traces.unfinished(folder)]
    step = traces.step(soak.directory)
    begin = time.monotonic()
    reference = undisturbed(folder, "undisturbed", *RUN, "--max-steps", step, limit=120 * minutes + LIMIT)
    faults += differences(soak.directory, reference)
    figures = soak.figures
    summary = {
        "steps": step,
        "hashes": len(traces.hashes(reference)),
        "differing": len(other_hashes(soak.directory, reference)),
        "events": dict(soak.events),
        "start": vars(figures[0]),
        "middle": vars(figures[len(figures) // 2]),
        "end": vars(figures[-1]),
        "minutes_undisturbed": round((time.monotonic() - begin) / 60, 1),
        "faults": faults,
    }
    print(json.dumps(summary), flush=True)
    return faults


class _Soak:
    def __init__(self, folder: Path, seed: int) -> None:
        self.group = Group(folder)
        self.directory = folder / "runs" / "endure"
        self.events: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._address, self._augmenter_address = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        self._workers: list[subprocess.Popen[bytes]] = []
        self._waking: list[tuple[float, int]] = []  #: (when, process id) of who is paused
        self._started = 0
        self.figures: list[Figures] = []

    def run(self, seconds: float) -> list[str]:
        lead = ["--bind", self._address, "--name", "endure"]
        coordinator = self.group.start("coordinator", *FLAGS, *RUN, *lead, name="coordinator")
        veteran, self._augmenter = self._worker(), self._augment()
        until(lambda: traces.step(self.directory) >= SETTLED, LIMIT, lambda: self.group.output("coordinator"))
        for _ in range(WORKERS - 1):
            self._workers.append(self._worker())
        begin = time.monotonic()
        look = begin + min(20.0, seconds / 8)  # what every process needs anyhow is there by then
        while time.monotonic() < begin + seconds:
            time.sleep(self._random.expovariate(1 / PAUSE))
            self._event(veteran.pid, pauses=time.monotonic() < begin + seconds - AWAKE)
            if time.monotonic() >= look:
                look = time.monotonic() + min(60.0, seconds / 8)
                self._measure((time.monotonic() - begin) / 60, coordinator.pid, veteran.pid)
        self._measure(seconds / 60, coordinator.pid, veteran.pid)
        self._wake(everybody=True)
        coordinator.send_signal(signal.SIGTERM)
        faults = [] if (code := coordinator.wait(60)) == 143 else [f"the coordinator ended with {code}"]
        faults += [] if (code := veteran.wait(60)) == 0 else [f"the veteran ended with {code}"]
        # Who has just started looks for the coordinator for 60 s, once Python is up; that takes a while at times.
        until(lambda: not self.group.members(), 240.0, lambda: f"{self.group.members()} outlive the run")
        return faults + growth(self.figures[0], self.figures[-1])

    def _measure(self, minute: float, coordinator: int, veteran: int) -> None:
        self.figures.append(measure(minute, self.directory, self.group.members(), coordinator, veteran))
        print(json.dumps(vars(self.figures[-1])), flush=True)

    def _event(self, veteran: int, *, pauses: bool) -> None:
        self._wake()
        self._workers = [worker for worker in self._workers if worker.poll() is None]
        kinds, weights = ("join", "die", "leave", "pause", "augmenter"), (30, 15, 10, 15, 5)
        kind = self._random.choices(kinds, weights)[0]
        if kind == "join" and len(self._workers) < WORKERS:
            self._workers.append(self._worker())
        elif kind in ("die", "leave") and self._workers:
            victim = self._workers.pop(self._random.randrange(len(self._workers)))
            hit(victim.pid, signal.SIGKILL if kind == "die" else signal.SIGTERM)
        elif kind == "pause":
            sleeping = {pid for _, pid in self._waking}
            pid = self._random.choice([veteran, *(worker.pid for worker in self._workers)])
            if pid in sleeping or (pid == veteran and not pauses):
                return
            hit(pid, signal.SIGSTOP)
            self._waking.append((time.monotonic() + self._random.choice((0.3, 3.0, 20.0)), pid))
        elif kind == "augmenter":
            hit(self._augmenter.pid, signal.SIGKILL)
            self._augmenter.wait()
            self._augmenter = self._augment()
        else:
            return
        self.events[kind] += 1

    def _wake(self, *, everybody: bool = False) -> None:
        """Who has paused long enough goes on."""
        now = time.monotonic()
        for when, pid in self._waking:
            if everybody or when <= now:
                hit(pid, signal.SIGCONT)
        self._waking = [] if everybody else [(when, pid) for when, pid in self._waking if when > now]

    def _worker(self) -> subprocess.Popen[bytes]:
        self._started += 1
        name = f"w{self._started}"
        flags = ["--connect", self._address, "--augmenters", self._augmenter_address, "--name", name]
        return self.group.start("worker", *flags, name="workers")

    def _augment(self) -> subprocess.Popen[bytes]:
        flags = ["--connect", self._address, "--bind", self._augmenter_address]
        return self.group.start("augmenter", *flags, name="augmenters")
