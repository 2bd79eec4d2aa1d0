"""JSON lines for machines: one object a line, with `ts level role host run event`, then the report's own fields."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from dptrain.cluster.reports import (
    EpochDone,
    Evaluated,
    Notice,
    Report,
    RunStarted,
    StepDone,
    TakenBack,
    WorkerJoined,
    WorkerLost,
    WorkerSilent,
)
from dptrain.run.progress import Progress
from dptrain.run.reporter.texts import Banner, Ending

_EVENTS: dict[type[Report], str] = {
    RunStarted: "run_started",
    WorkerJoined: "worker_joined",
    WorkerLost: "worker_lost",
    WorkerSilent: "worker_silent",
    StepDone: "progress",
    TakenBack: "step_taken_back",
    EpochDone: "epoch_done",
    Evaluated: "evaluated",
    Notice: "notice",
}


class JsonReporter:
    """Writes to stdout. Progress at most once an interval; everything else when it happens."""

    def __init__(self, interval: float, run: str) -> None:
        self._interval = interval
        self._next = 0.0
        self._head = {"role": "coordinator", "host": socket.gethostname(), "run": run}

    def banner(self, banner: Banner) -> None:
        """Before the first report."""
        self._write("info", "banner", {"identity": banner.facts.identity, "lines": banner.lines(), "path": banner.path})

    def tell(self, report: Report, progress: Progress, now: float) -> None:
        """After `progress` has taken the report in."""
        fields: dict[str, Any] = asdict(report)
        level = "warning" if isinstance(report, WorkerLost | WorkerSilent) else "info"
        if isinstance(report, StepDone):
            if now < self._next:
                return
            self._next = now + self._interval
            fields = {
                "step": progress.step,
                "total_steps": progress.total_steps,
                "epoch": progress.epoch,
                "train/loss": progress.loss,
                "train/acc": progress.accuracy,
                "lr": progress.lr,
                "throughput/samples_per_s": progress.samples_per_second,
                "eta_s": progress.run_eta,
                "elapsed_s": now - progress.started,
            }
        elif isinstance(report, Notice):
            level, fields = report.level, {"msg": report.text}
        self._write(level, _EVENTS[type(report)], fields)

    def closing(self, ending: Ending, progress: Progress, now: float) -> None:
        """After the last report."""
        fields = {"step": progress.step, "path": ending.path, "elapsed_s": now - progress.started}
        if ending.complete_before:
            self._write("info", "finished", fields)
        elif ending.test:
            self._write("info", "finished", fields | {"test/acc": ending.test.accuracy})
        else:
            self._write("error" if ending.failed else "info", "stopped", fields)

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        head = {
            "ts": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            **self._head,
            "event": event,
        }
        clean = {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in fields.items()}
        sys.stdout.write(json.dumps(head | clean) + "\n")
        sys.stdout.flush()
