"""Plain lines for logs: never a carriage return, never a colour; at most one progress line an interval."""

from __future__ import annotations

import sys

from dptrain.cluster.reports import EpochDone, Evaluated, Notice, Report, RunStarted, StepDone, TakenBack, WorkerJoined
from dptrain.run.progress import Progress
from dptrain.run.reporter import texts


class PlainReporter:
    """Writes to stdout, each line flushed."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._noun = "worker"

    def banner(self, banner: texts.Banner) -> None:
        """Before the first report."""
        self._noun = texts.noun(banner.facts.config.deployment)
        self.lines(banner.lines())

    def tell(self, report: Report, progress: Progress, now: float) -> None:
        """After `progress` has taken the report in."""
        elapsed = now - progress.started
        match report:
            case RunStarted():
                self._next = now + self._interval
                if report.step:
                    self.lines([f"going on after step {report.step:,} of {report.total_steps:,}"])
            case StepDone():
                if now >= self._next:
                    self._next = now + self._interval
                    eta = f"eta {texts.duration(progress.epoch_eta)} epoch, {texts.duration(progress.run_eta)} run"
                    where, figures = texts.where(progress), texts.figures(progress)
                    self.lines([f"{where}  {figures}  elapsed {texts.duration(elapsed)}  {eta}"])
            case TakenBack() | Notice(final=True):
                pass  # a notice comes before the one; the other is the last line of all
            case WorkerJoined() if self._noun == "thread":
                pass  # the banner has said how many there are
            case EpochDone():
                self._next = now + self._interval
                self.lines([texts.epoch_line(report, progress, elapsed)])
            case Evaluated():
                self.lines([texts.evaluation_line(report)])
            case _:
                self.lines([texts.event_line(report, self._noun)])

    def lines(self, lines: list[str]) -> None:
        """Prints them."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def closing(self, ending: texts.Ending, progress: Progress, now: float) -> None:
        """After the last report."""
        self.lines(texts.closing_lines(ending, progress, now - progress.started))

    def close(self) -> None:
        """Nothing is held."""
