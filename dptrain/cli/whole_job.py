"""`dptrain bench --workers 1,2`: whole trainings, data to checkpoints, in turns with each other and with PyTorch's."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from dptrain.cli.torch_side import TorchJob
from dptrain.errors import UsageError

_TURNS = 3  #: runs of each number of workers
_SKIPPED = 5  #: steps at the beginning of a run that are not counted: caches fill, workers arrive


class Job(NamedTuple):
    """One number of workers over its runs, of one side."""

    side: str  #: dptrain, or torch: DistributedDataParallel over as many processes
    workers: int
    images: float  #: images/s from the first counted step to the last, median of the runs
    low: float  #: slowest run
    high: float  #: fastest run
    coordinator_ms: float = 0.0  #: the coordinator's share of a step, median of all counted ones; 0: there is none


def whole_job(counts: list[int], flags: dict[str, str], steps: int, torch: TorchJob | None) -> list[Job]:
    """Trains with `flags` for so many counted steps, _TURNS times each, in turns. Raises UsageError if a run fails."""
    speeds: dict[tuple[str, int], list[float]] = {}
    shares: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(_TURNS):
        for count in counts:
            speed, waits = _run(count, flags, steps)
            speeds.setdefault(("dptrain", count), []).append(speed)
            shares[count] += waits
            if torch:
                seconds = torch.run(count, steps + _SKIPPED)[_SKIPPED:]
                speeds.setdefault(("torch", count), []).append(torch.shape["batch"] * steps / sum(seconds))
    jobs = []
    for (side, count), runs in speeds.items():
        median, low, high = (round(f(runs), 1) for f in (statistics.median, min, max))
        share = round(1000 * statistics.median(shares[count]), 3) if side == "dptrain" else 0.0
        jobs.append(Job(side, count, median, low, high, share))
    return jobs


def _run(workers: int, flags: dict[str, str], steps: int) -> tuple[float, list[float]]:
    """Images/s, and the seconds of each step that workers waited for the coordinator."""
    from dptrain.api.compiling import terminal_line, word_about_compiling  # imports Numba

    given = flags | {"workers": str(workers), "max_steps": str(steps + _SKIPPED), "name": "bench"}
    with tempfile.TemporaryDirectory(prefix="dptrain-bench-") as folder:
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        command = [sys.executable, "-P", "-m", "dptrain", "train", *words, "--runs", folder, "--log-format", "json"]
        with word_about_compiling(terminal_line()):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            raise UsageError(f"bench --workers {workers}: the training ended with {done.returncode}: {reason}")
        records = map(json.loads, (Path(folder) / "bench" / "metrics.jsonl").read_text().splitlines())
        counted = [record for record in records if record["kind"] == "step" and record["step"] > _SKIPPED]
    samples = sum(record["throughput/samples_per_s"] * record["time/step_s"] for record in counted)
    speed = samples / sum(record["time/step_s"] for record in counted)
    return speed, [record["time/coordinator_s"] for record in counted]
