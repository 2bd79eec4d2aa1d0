"""How a run is doing, read from its directory while another process may write there. Changes and locks nothing."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dptrain.cluster.events import DIVERGED
from dptrain.errors import RunDirectoryError
from dptrain.runs import metrics
from dptrain.runs.directory import read_manifest

_LOG_LINES = 6
_LOG_BYTES = 64 << 10  #: of the end of the log that are read
_TOTAL = re.compile(r"term \d+: step \d+ of (\d+)")


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a run at one moment."""

    path: Path
    identity: str
    start: dict[str, Any]  #: the last start in run.json
    owner: str  #: "pid 7 on host"
    running: bool
    diverged: bool  #: see `diverged`
    quiet: float  #: seconds since anything was written
    total_steps: int  #: 0: not logged yet
    step: metrics.Record | None  #: the last record
    evaluation: metrics.Record | None  #: the last record
    throughput: float  #: images per second over the last steps; 0: no step yet
    checkpoints: tuple[tuple[str, int, float], ...]  #: (name, bytes, age in seconds)
    log: tuple[str, ...]  #: the last lines of the coordinator's log


def condition(path: Path) -> Condition:
    """The condition of the run in `path`. Raises RunDirectoryError if it is no run directory, or damaged."""
    if not (path / "config.toml").is_file():
        raise RunDirectoryError(f"{path} is no run directory (it has no config.toml): dptrain status runs/NAME")
    manifest, now = read_manifest(path), time.time()
    file = path / "metrics.jsonl"
    records = metrics.read(file) if file.exists() else []
    steps = [record for record in records if record["kind"] == "step"]
    lines = _tail(path / "logs" / "coordinator.log")
    totals = [int(found[1]) for line in lines if (found := _TOTAL.search(line))]
    saved = (path / "checkpoints").glob("*.safetensors")
    return Condition(
        path=path,
        identity=str(manifest.get("identity", "")),
        start=manifest["starts"][-1] if manifest["starts"] else {},
        owner=_owner(path / "lock"),
        running=is_locked(path / "lock"),
        diverged=diverged(path),
        quiet=now - max((p.stat().st_mtime for p in (file, path / "run.json") if p.exists()), default=now),
        total_steps=totals[-1] if totals else 0,
        step=steps[-1] if steps else None,
        evaluation=next((record for record in reversed(records) if record["kind"] == "eval"), None),
        throughput=_throughput(steps[-20:]),
        checkpoints=tuple((p.name, p.stat().st_size, now - p.stat().st_mtime) for p in sorted(saved)),
        log=tuple(lines[-_LOG_LINES:]),
    )


def diverged(path: Path) -> bool:
    """Whether the last start of the run diverged. The next one, which has the same bits, would diverge as well."""
    for line in reversed(_tail(path / "logs" / "coordinator.log")):
        if DIVERGED in line or _TOTAL.search(line):
            return DIVERGED in line
    return False


def is_locked(file: Path) -> bool:
    """Whether a process has the lock; found without taking it, which could make another start fail."""
    try:
        found = file.stat()
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return False
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return any(line.split()[1] == "FLOCK" and line.split()[5] == place for line in locks.splitlines())


def _owner(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()[:100]
    except OSError:
        return ""


def _throughput(steps: list[metrics.Record]) -> float:
    rates = [float(r) for record in steps if (r := record["throughput/samples_per_s"])]
    return len(rates) / sum(1 / r for r in rates) if rates else 0.0


def _tail(file: Path) -> list[str]:
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - _LOG_BYTES))
            return log.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
