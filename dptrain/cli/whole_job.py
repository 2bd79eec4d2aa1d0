"""`dptrain bench --workers 1,2`: whole trainings, data to checkpoints, the numbers of workers in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from dptrain.errors import UsageError

_TURNS = 3  #: runs of each number of workers
_SKIPPED = 5  #: steps at the beginning of a run that are not counted: caches fill, workers arrive


class Job(NamedTuple):
    """One number of workers over its runs."""

    workers: int
    images: float  #: images/s from the first counted step to the last, median of the runs
    low: float  #: slowest run
    high: float  #: fastest run


def whole_job(counts: list[int], flags: dict[str, str], steps: int) -> list[Job]:
    """Trains with `flags` for so many counted steps, _TURNS times each, in turns. Raises UsageError if a run fails."""
    speeds: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(_TURNS):
        for count in counts:
            speeds[count].append(_run(count, flags, steps))
    return [Job(n, round(statistics.median(s), 1), round(min(s), 1), round(max(s), 1)) for n, s in speeds.items()]


def _run(workers: int, flags: dict[str, str], steps: int) -> float:
    given = flags | {"workers": str(workers), "max_steps": str(steps + _SKIPPED), "name": "bench"}
    with tempfile.TemporaryDirectory(prefix="dptrain-bench-") as folder:
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        command = [sys.executable, "-P", "-m", "dptrain", "train", *words, "--runs", folder, "--log-format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            raise UsageError(f"bench --workers {workers}: the training ended with {done.returncode}: {reason}")
        records = map(json.loads, (Path(folder) / "bench" / "metrics.jsonl").read_text().splitlines())
        counted = [record for record in records if record["kind"] == "step" and record["step"] > _SKIPPED]
    samples = sum(record["throughput/samples_per_s"] * record["time/step_s"] for record in counted)
    return float(samples / sum(record["time/step_s"] for record in counted))
