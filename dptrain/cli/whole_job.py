"""`dptrain bench --workers 1,2`: whole trainings, from data to checkpoints, with each number of workers in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from dptrain.errors import UsageError

TURNS = 3  #: runs of each number of workers
SKIPPED = 5  #: steps at the beginning of a run that are not counted: caches fill, workers connect

Trainer: TypeAlias = Callable[[int, int], float]  #: (workers, counted steps) -> images/s of one training


class Job(NamedTuple):
    """The runs of one program with one number of workers."""

    side: str  #: "dptrain", or the other program
    workers: int
    images: float  #: images/s from the first counted step to the last, median of the runs
    low: float  #: slowest run
    high: float  #: fastest run
    coordinator_ms: float  #: the coordinator's share of a step, median of all counted steps; 0: it has no coordinator
    runs: list[float]  #: images/s of each run


def whole_job(
    counts: Sequence[int], flags: dict[str, str], steps: int, others: Mapping[str, Trainer] | None = None
) -> list[Job]:
    """Trains with `flags` and with each of `others` for so many counted steps, TURNS times with each number of workers.

    The programs alternate. Raises UsageError if a run fails.
    """
    speeds: dict[tuple[str, int], list[float]] = {}
    shares: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(TURNS):
        for count in counts:
            speed, waits = _run(count, flags, steps)
            speeds.setdefault(("dptrain", count), []).append(speed)
            shares[count] += waits
            for name, train in (others or {}).items():
                speeds.setdefault((name, count), []).append(train(count, steps))
    jobs = []
    for (side, count), runs in speeds.items():
        median, low, high = (round(f(runs), 1) for f in (statistics.median, min, max))
        share = round(1000 * statistics.median(shares[count]), 3) if side == "dptrain" else 0.0
        jobs.append(Job(side, count, median, low, high, share, runs))
    return jobs


def _run(workers: int, flags: dict[str, str], steps: int) -> tuple[float, list[float]]:
    """Images/s, and the seconds of each step that workers waited for the coordinator."""
    from dptrain.api.session import terminal_line, word_about_compiling  # imports Numba

    given = flags | {"workers": str(workers), "max_steps": str(steps + SKIPPED), "name": "bench"}
    with tempfile.TemporaryDirectory(prefix="dptrain-bench-") as folder:
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        command = [sys.executable, "-P", "-m", "dptrain", "train", *words, "--runs", folder, "--log-format", "json"]
        with word_about_compiling(terminal_line()):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
            raise UsageError(f"bench --workers {workers}: the training ended with {done.returncode}: {reason}")
        records = map(json.loads, (Path(folder) / "bench" / "metrics.jsonl").read_text().splitlines())
        counted = [record for record in records if record["kind"] == "step" and record["step"] > SKIPPED]
    samples = sum(record["throughput/samples_per_s"] * record["time/step_s"] for record in counted)
    speed = samples / sum(record["time/step_s"] for record in counted)
    return speed, [record["time/coordinator_s"] for record in counted]
