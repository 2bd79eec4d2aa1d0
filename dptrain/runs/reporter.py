"""Ways to show a run: a live display on a terminal (`live.py`), plain lines, JSON lines, or nothing."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from dptrain.cluster.events import (
    EpochDone,
    Evaluated,
    Notice,
    Report,
    RunStarted,
    StepDone,
    TakenBack,
    WorkerAdmitted,
    WorkerLost,
    WorkerSilent,
)
from dptrain.runs import texts
from dptrain.runs.live import LiveReporter
from dptrain.runs.progress import Progress
from dptrain.runs.texts import Banner, Summary


class QuietReporter:
    """Shows nothing. The other reporters have the same methods."""

    def banner(self, banner: Banner) -> None:
        """Before the first report."""

    def tell(self, report: Report, line: str, progress: Progress, now: float) -> None:
        """After `progress` has taken the report in. `line`: the text of a notice or of a worker's event, else ""."""

    def closing(self, summary: Summary, progress: Progress, now: float) -> None:
        """After the last report."""

    def close(self) -> None:
        """Has nothing to close."""


class PlainReporter:
    """Writes lines to stdout and flushes each one."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._noun = "worker"

    def banner(self, banner: texts.Banner) -> None:
        self._noun = texts.noun(banner.facts.config.deployment)
        self.lines(banner.lines())

    def tell(self, report: Report, line: str, progress: Progress, now: float) -> None:
        elapsed = now - progress.started
        match report:
            case RunStarted():
                self._next = now + self._interval
                if report.step:
                    self.lines([f"continuing after step {report.step:,} of {report.total_steps:,}"])
            case StepDone():
                if now >= self._next:
                    self._next = now + self._interval
                    eta = f"eta {texts.duration(progress.epoch_eta)} epoch, {texts.duration(progress.run_eta)} run"
                    where, figures = texts.where(progress), texts.figures(progress)
                    self.lines([f"{where}  {figures}  elapsed {texts.duration(elapsed)}  {eta}"])
            case TakenBack() | Notice(final=True):
                pass  # a notice has announced the first; the error line at the end has the second
            case WorkerAdmitted() if self._noun == "thread":
                pass  # the banner has their number
            case EpochDone():
                self._next = now + self._interval
                self.lines([texts.epoch_line(report, progress, elapsed)])
            case Evaluated():
                self.lines([texts.evaluation_line(report)])
            case _:
                self.lines([line])

    def lines(self, lines: list[str]) -> None:
        """Prints them."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def closing(self, summary: texts.Summary, progress: Progress, now: float) -> None:
        self.lines(texts.closing_lines(summary, progress, now - progress.started))

    def close(self) -> None:
        """Has nothing to close."""


_EVENTS: dict[type[Report], str] = {
    RunStarted: "run_started",
    WorkerAdmitted: "worker_admitted",
    WorkerLost: "worker_lost",
    WorkerSilent: "worker_silent",
    StepDone: "progress",
    TakenBack: "step_taken_back",
    EpochDone: "epoch_done",
    Evaluated: "evaluated",
    Notice: "notice",
}


class JsonReporter:
    """Writes one JSON object per line to stdout: progress at most once per interval, other events at once."""

    def __init__(self, interval: float, run: str) -> None:
        self._interval = interval
        self._next = 0.0
        self._head = {"role": "coordinator", "host": socket.gethostname(), "run": run}

    def banner(self, banner: Banner) -> None:
        self._write("info", "banner", {"identity": banner.facts.identity, "lines": banner.lines(), "path": banner.path})

    def tell(self, report: Report, line: str, progress: Progress, now: float) -> None:
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
                "throughput/samples_per_s": progress.images_per_second,
                "eta_s": progress.run_eta,
                "elapsed_s": now - progress.started,
            }
        elif isinstance(report, Notice):
            level, fields = report.level, {"msg": report.text}
        self._write(level, _EVENTS[type(report)], fields)

    def closing(self, summary: Summary, progress: Progress, now: float) -> None:
        fields = {"step": progress.step, "path": summary.path, "elapsed_s": now - progress.started}
        if summary.complete_before:
            self._write("info", "finished", fields)
        elif summary.test:
            self._write("info", "finished", fields | {"test/acc": summary.test.accuracy})
        else:
            self._write("error" if summary.failed else "info", "stopped", fields)

    def close(self) -> None:
        """Has nothing to close."""

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


__all__ = ["Banner", "JsonReporter", "LiveReporter", "PlainReporter", "QuietReporter", "Reporter", "choose"]

Reporter = LiveReporter | PlainReporter | JsonReporter | QuietReporter


def choose(log_format: str, interval: float, run: str) -> Reporter:
    """The reporter of `log_format`; "auto": live on a terminal (unless NO_COLOR or TERM=dumb), else plain lines."""
    if log_format == "auto":
        dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
        log_format = "rich" if sys.stdout.isatty() and not dumb else "plain"
    if log_format == "rich":
        return LiveReporter()
    if log_format == "quiet":
        return QuietReporter()
    if log_format == "json":
        return JsonReporter(interval, run)
    return PlainReporter(interval)
