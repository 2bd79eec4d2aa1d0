"""What a process and a run take of the machine: memory, descriptors, threads, sockets, disk. From /proc and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from soak import traces

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
