"""A live display for terminals, by rich: bars for epoch and run, figures, a row a worker; epochs scroll above."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dptrain.cluster.reports import EpochDone, Evaluated, Notice, Report, RunStarted, StepDone, TakenBack, WorkerLost
from dptrain.run.progress import Progress
from dptrain.run.reporter import texts

_REFRESH = 4  #: times a second


class LiveReporter:
    """Owns the lower lines of the terminal until `close`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._next = 0.0

    def banner(self, banner: texts.Banner) -> None:
        """Before the first report."""
        for line in banner.lines():
            self._console.print(Text(line))
        self._live.start()

    def tell(self, report: Report, progress: Progress, now: float) -> None:
        """After `progress` has taken the report in."""
        match report:
            case StepDone() | TakenBack() | Notice(final=True):  # a notice comes before a step taken back
                pass
            case RunStarted():
                if report.step:
                    self._print(f"going on after step {report.step:,} of {report.total_steps:,}")
            case EpochDone():
                self._print(texts.epoch_line(report, progress, now - progress.started))
            case Evaluated():
                self._print(texts.evaluation_line(report), "green" if report.best else "")
            case _:
                self._print(texts.event_line(report), "yellow" if isinstance(report, WorkerLost) else "dim")
        if now >= self._next:
            self._next = now + 1 / _REFRESH
            self._live.update(_block(progress, now), refresh=True)

    def closing(self, ending: texts.Ending, progress: Progress, now: float) -> None:
        """After the last report."""
        self.close()
        lines = texts.closing_lines(ending, progress, now - progress.started)
        self._console.print(Text(lines[0], style="bold green" if ending.test else "yellow"))
        for line in lines[1:]:
            self._console.print(Text(line))

    def close(self) -> None:
        """Gives the terminal back."""
        self._live.stop()

    def _print(self, line: str, style: str = "") -> None:
        self._console.print(Text(line, style=style))


def _block(progress: Progress, now: float) -> Group:
    bars = Table.grid(padding=(0, 2))
    done = progress.step_in_epoch
    bars.add_row(
        texts.where(progress),
        ProgressBar(progress.steps_per_epoch, done, width=30),
        f"eta {texts.duration(progress.epoch_eta)}",
        Text(texts.figures(progress), style="bold"),
    )
    bars.add_row(
        f"run  {progress.step:,}/{progress.total_steps:,}",
        ProgressBar(max(1, progress.total_steps), progress.step, width=30),
        f"eta {texts.duration(progress.run_eta)}",
        f"elapsed {texts.duration(now - progress.started)}",
    )
    workers = Table.grid(padding=(0, 2))
    for row in progress.workers.values():
        behind = progress.step - row.last_step
        state = f"busy {row.busy:4.0%}" if behind <= 1 else f"silent for {texts.count(behind, 'step')}"
        workers.add_row(Text(row.name, style="cyan"), f"pid {row.pid}", row.isa, f"{1e3 * row.seconds:6.1f} ms", state)
    return Group(bars, workers)
