"""One run killed again and again: which processes, when, how often, is a pure function of a seed (but not what they do
at that instant). It must end with the bits of the undisturbed run.
"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from simulation import traces
from simulation.processes import Group, hit
from simulation.recipe import FLAGS, differences, other_hashes


class Losses:
    """Sees steps and blows in the order in which they happen.

    If a blow has no name, or a second one follows before the next step, it is not known which of them cost the time:
    such losses are not counted.
    """

    def __init__(self) -> None:
        self._step = 0  #: the last one seen
        self._since = 0.0  #: when it was seen first, or when this life began
        self._gaps: list[float] = []  #: seconds of the steps nothing happened in
        self._waiting: list[tuple[float, str]] = []  #: blows since that step
        self._found: dict[str, list[float]] = {}
        self.moving = False  #: this life of the coordinator has applied a step

    def begin(self, now: float, step: int) -> None:
        """Another life of the coordinator, after `step`. What it repeats of the last one's is part of the loss."""
        self._step, self._since, self.moving = max(step, self._step), now, False

    def see(self, now: float, step: int) -> None:
        """`step` is the last one applied."""
        if step <= self._step:
            return
        usual = statistics.median(self._gaps) if self._gaps else 0.0
        if len(self._waiting) == 1 and self._waiting[0][1]:
            when, name = self._waiting[0]
            self._found.setdefault(name, []).append(round(max(0.0, now - when - usual), 3))
        elif not self._waiting and self.moving:
            self._gaps.append((now - self._since) / (step - self._step))
        self._step, self._since, self._waiting, self.moving = step, now, [], True

    def blow(self, now: float, name: str) -> None:
        """A process was hit. `name`: the process that died of it; "": none did."""
        self._waiting.append((now, name))

    def reckoned(self) -> dict[str, list[float]]:
        """Name -> seconds, one figure per death that no other blow overlapped."""
        return self._found


EPOCHS = ["--epochs", 2, "--hash-every", 1, "--checkpoint-every", 3]
LIMIT = 600.0  #: seconds for one schedule
GOES_ON = {75, 130, 143, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}  #: codes after which it is started again
PAUSE = 1.0  #: mean seconds between two blows
EVENTFUL = 0.8  #: of the lives are spared until their first step: most blows should hit the training
LIVES = 3  #: the coordinator is killed at most so often less one; then it may finish
WORKERS = 3  #: at most; an import of Numba each, which is most of what a schedule costs


@dataclass
class Outcome:
    """Of one schedule."""

    seed: int
    lives: int = 0  #: of the coordinator
    blows: dict[str, int] = field(default_factory=dict)  #: what was hit how often
    lost: dict[str, list[float]] = field(default_factory=dict)  #: seconds a death cost; the kinds of `Losses`
    hashes: int = 0  #: compared with the undisturbed run's
    differing: int = 0  #: of these
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)  #: [] where all is as it should be


def disturb(seed: int, folder: Path, reference: Path) -> Outcome:
    """Plays one schedule in an empty folder."""
    schedule = _Schedule(seed, folder)
    outcome, run = schedule.outcome, folder / "runs" / "chaos"
    start = time.monotonic()
    try:
        schedule.play()
        outcome.hashes, outcome.differing = len(traces.hashes(run)), len(other_hashes(run, reference))
        outcome.faults += differences(run, reference)
        outcome.faults += [f"left behind: {name}" for name in traces.unfinished(folder)]
    except AssertionError as error:
        outcome.faults.append(str(error))
    finally:
        left = schedule.group.end()
    if left:
        outcome.faults.append(f"{len(left)} processes outlived the run")
    outcome.lost = schedule.losses.reckoned()
    outcome.seconds = round(time.monotonic() - start, 1)
    return outcome


class _Schedule:
    def __init__(self, seed: int, folder: Path) -> None:
        self.outcome = Outcome(seed)
        self.group = Group(folder)
        self.losses = Losses()
        self._random = random.Random(seed)
        self._run = folder / "runs" / "chaos"
        self._deadline = time.monotonic() + LIMIT

    def play(self) -> None:
        """Life after life of the coordinator, until the run is complete."""
        for life in range(1, 1000):
            self.outcome.lives = life
            process = self._start(life)
            code = self._live(process, last=life >= LIVES)
            if code == 0:
                return
            assert code in GOES_ON, f"exit code {code}:\n{self._said()}"

    def _start(self, life: int) -> subprocess.Popen[bytes]:
        dice = self._random
        workers, augmenters = dice.randint(1, WORKERS), dice.randint(0, 1)
        bind = dice.choice(("ipc", "tcp://127.0.0.1:0"))
        if life > 1 and dice.random() < 0.1:
            bind, workers, augmenters = "ipc", 0, 0  # a run that was started with processes ends in one
        flags = [*FLAGS, *EPOCHS, "--bind", bind, "--workers", workers, "--augmenters", augmenters]
        return self.group.start("train", *flags, "--name", "chaos", "--resume", "auto", name="chaos")

    def _live(self, process: subprocess.Popen[bytes], *, last: bool) -> int:
        """Blows until this life of the coordinator ends."""
        self.losses.begin(time.monotonic(), traces.step(self._run))
        if self._random.random() < EVENTFUL:
            while process.poll() is None and not self.losses.moving:
                self._wait(process, 0.05)
        while True:
            self._wait(process, self._random.expovariate(1 / PAUSE))
            if process.poll() is not None:
                self._look()
                return process.returncode
            self._blow(process, spare_coordinator=last)

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            self._look()
            time.sleep(0.03)
            assert time.monotonic() < self._deadline, f"not over in {LIMIT:.0f} s:\n{self._said()}"

    def _said(self) -> str:
        return self.group.output("chaos")[-2000:]

    def _look(self) -> None:
        self.losses.see(time.monotonic(), traces.step(self._run))

    def _blow(self, process: subprocess.Popen[bytes], *, spare_coordinator: bool) -> None:
        kind = self._random.choices(
            ("worker", "augmenter", "pause", "coordinator", "checkpoint", "stop"), (45, 10, 10, 12, 12, 11)
        )[0]
        if kind in ("worker", "augmenter", "pause"):
            self._hit_child(kind)
        elif not spare_coordinator:
            if kind == "checkpoint" and not self._checkpoint_is_being_written(process):
                return
            self._look()
            number = self._random.choice((signal.SIGTERM, signal.SIGINT)) if kind == "stop" else signal.SIGKILL
            self._count(kind, "" if kind == "stop" else "coordinator", hit(process.pid, number))
            process.wait(60)

    def _hit_child(self, kind: str) -> None:
        there = self.group.members("augmenter" if kind == "augmenter" else "worker")
        if not there:
            return
        victim = self._random.choice(sorted(there))
        if kind == "pause":
            self._count(kind, "", hit(victim, signal.SIGSTOP))
            time.sleep(self._random.uniform(0.1, 2.0))
            hit(victim, signal.SIGCONT)
            return
        self._look()
        ready = self._ready()
        loses = "" if kind == "augmenter" or not ready else "worker" if ready > 1 else "only worker"
        self._count(kind, loses, hit(victim, signal.SIGKILL))

    def _ready(self) -> int:
        """Workers that take part, as the coordinator has last said."""
        said = re.findall(r"; (\d+) workers? now$", self.group.output("chaos"), re.M)
        return int(said[-1]) if said else 0

    def _checkpoint_is_being_written(self, process: subprocess.Popen[bytes]) -> bool:
        """Waits for it, looking all the time: the file is there for a few milliseconds."""
        until = time.monotonic() + 5.0
        folder = self._run / "checkpoints"
        while time.monotonic() < until and process.poll() is None:
            try:
                if any(name.endswith(".tmp") for name in os.listdir(folder)):
                    return True
            except FileNotFoundError:
                time.sleep(0.05)
            time.sleep(0.0005)
        return False

    def _count(self, kind: str, loses: str, happened: bool) -> None:
        """`loses`: what the loss is put down to; "": it is not reckoned."""
        if happened:
            self.losses.blow(time.monotonic(), loses)
            self.outcome.blows[kind] = self.outcome.blows.get(kind, 0) + 1
