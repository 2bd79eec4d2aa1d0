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

from soak import traces
from soak.processes import Group, hit
from soak.recipe import FLAGS, differences

EPOCHS = ["--epochs", 2, "--hash-every", 1, "--checkpoint-every", 3]
LIMIT = 600.0  #: seconds for one schedule
GOES_ON = {75, 130, 143, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}  #: codes after which it is started again
PAUSE = 1.0  #: mean seconds between two blows
EVENTFUL = 0.7  #: of the lives are spared until their first step: most blows should hit the training
LIVES = 6  #: the coordinator is killed at most so often less one; then it may finish


@dataclass
class Outcome:
    """Of one schedule."""

    seed: int
    blows: dict[str, int] = field(default_factory=dict)  #: what was hit how often
    lost: list[float] = field(default_factory=list)  #: seconds a worker's death cost, others being there
    lost_alone: list[float] = field(default_factory=list)  #: ... where it was the only one
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)  #: [] where all is as it should be


def disturb(seed: int, folder: Path, reference: Path) -> Outcome:
    """Plays one schedule in an empty folder."""
    schedule = _Schedule(seed, folder)
    start = time.monotonic()
    try:
        schedule.play()
        schedule.outcome.faults += differences(folder / "runs" / "chaos", reference)
        schedule.outcome.faults += [f"left behind: {name}" for name in traces.unfinished(folder)]
    except AssertionError as error:
        schedule.outcome.faults.append(str(error))
    finally:
        left = schedule.group.end()
    if left:
        schedule.outcome.faults.append(f"{len(left)} processes outlived the run")
    schedule.outcome.seconds = time.monotonic() - start
    return schedule.outcome


class _Schedule:
    def __init__(self, seed: int, folder: Path) -> None:
        self.outcome = Outcome(seed)
        self.group = Group(folder)
        self._random = random.Random(seed)
        self._run = folder / "runs" / "chaos"
        self._workers = 0
        self._progress: list[tuple[float, int]] = []  #: (when seen first, step) of this life
        self._deaths: list[tuple[float, int]] = []  #: (when, workers that took part) of this life
        self._blows: list[float] = []  #: when
        self._deadline = time.monotonic() + LIMIT

    def play(self) -> None:
        """Life after life of the coordinator, until the run is complete."""
        for life in range(1, 1000):
            process = self._start(life)
            code = self._live(process, last=life >= LIVES)
            self._reckon()
            if code == 0:
                return
            assert code in GOES_ON, f"exit code {code}:\n{self._said()}"

    def _start(self, life: int) -> subprocess.Popen[bytes]:
        dice = self._random
        self._workers = dice.randint(1, 4)
        bind = dice.choice(("ipc", "tcp://127.0.0.1:0"))
        flags = [*FLAGS, *EPOCHS, "--bind", bind, "--workers", self._workers, "--augmenters", dice.randint(0, 2)]
        if life > 1 and dice.random() < 0.1:
            flags[flags.index("--bind") :] = ["--bind", "ipc", "--workers", 0]
        return self.group.start("train", *flags, "--name", "chaos", "--resume", "auto", name="chaos")

    def _live(self, process: subprocess.Popen[bytes], *, last: bool) -> int:
        """Blows until this life of the coordinator ends."""
        self._progress, self._deaths = [(time.monotonic(), traces.step(self._run))], []
        if self._random.random() < EVENTFUL:
            while process.poll() is None and len(self._progress) < 2:
                self._wait(process, 0.05)
        while True:
            self._wait(process, self._random.expovariate(1 / PAUSE))
            if process.poll() is not None:
                return process.returncode
            self._blow(process, spare_coordinator=last)

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            self._look()
            time.sleep(0.02)
            assert time.monotonic() < self._deadline, (
                f"not over in {LIMIT:.0f} s:\n{self.group.output('chaos')[-2000:]}"
            )

    def _said(self) -> str:
        return self.group.output("chaos")[-2000:]

    def _look(self) -> None:
        step = traces.step(self._run)
        if step != self._progress[-1][1]:
            self._progress.append((time.monotonic(), step))

    def _blow(self, process: subprocess.Popen[bytes], *, spare_coordinator: bool) -> None:
        kind = self._random.choices(
            ("worker", "augmenter", "pause", "coordinator", "checkpoint", "stop"), (45, 10, 10, 12, 12, 11)
        )[0]
        if kind in ("worker", "augmenter", "pause"):
            self._hit_child(kind)
        elif not spare_coordinator:
            if kind == "checkpoint" and not self._checkpoint_is_being_written(process):
                return
            number = self._random.choice((signal.SIGTERM, signal.SIGINT)) if kind == "stop" else signal.SIGKILL
            self._count(kind, hit(process.pid, number))
            process.wait(60)

    def _hit_child(self, kind: str) -> None:
        there = self.group.members("augmenter" if kind == "augmenter" else "worker")
        if not there:
            return
        victim = self._random.choice(sorted(there))
        if kind == "pause":
            self._count(kind, hit(victim, signal.SIGSTOP))
            time.sleep(self._random.uniform(0.1, 2.0))
            hit(victim, signal.SIGCONT)
            return
        if kind == "worker":
            self._look()
            self._deaths.append((time.monotonic(), self._ready()))
        self._count(kind, hit(victim, signal.SIGKILL))

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
        return False

    def _count(self, kind: str, happened: bool) -> None:
        if happened:
            self._blows.append(time.monotonic())
            self.outcome.blows[kind] = self.outcome.blows.get(kind, 0) + 1

    def _reckon(self) -> None:
        """Time lost a death: from then to the next step applied, less what a step takes. Where another blow falls in
        between, nobody can say which one cost it.
        """
        gaps = [b[0] - a[0] for a, b in zip(self._progress, self._progress[1:], strict=False)]
        usual = statistics.median(gaps) if gaps else 0.0
        for when, ready in self._deaths:
            following = [seen for seen, _ in self._progress[1:] if seen > when]
            if not following or sum(when <= blow < following[0] for blow in self._blows) > 1:
                continue
            if ready and when > self._progress[1][0]:
                lost = max(0.0, following[0] - when - usual)
                (self.outcome.lost if ready > 1 else self.outcome.lost_alone).append(round(lost, 3))
