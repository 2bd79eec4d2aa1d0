"""A live display for terminals, made with rich: bars for epoch and run, figures, one row per worker; epochs above."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

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
from dptrain.runs.progress import Progress, WorkerRow

_REFRESH = 4  #: per second
_GAP = 2  #: columns of the terminal between two texts
_BAR = 10, 30  #: least and greatest width of a bar; with less room there is no bar


class LiveReporter:
    """Draws on the lower lines of the terminal until `close`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._next = 0.0
        self._noun = "worker"

    def banner(self, banner: texts.Banner) -> None:
        self._noun = texts.noun(banner.facts.config.deployment)
        for line in banner.lines():
            self._console.print(Text(line))
        self._live.start()

    def waiting(self, text: str) -> None:
        """Shown instead of bars and workers before the first step. Any thread may call it."""
        self._live.update(Text(text, style="dim", no_wrap=True), refresh=True)

    def tell(self, report: Report, line: str, progress: Progress, now: float) -> None:
        match report:
            case StepDone() | TakenBack() | Notice(final=True):  # a notice comes before a step taken back
                pass
            case WorkerAdmitted() if self._noun == "thread":  # the banner has their number
                pass
            case RunStarted():
                if report.step:
                    self._print(f"continuing after step {report.step:,} of {report.total_steps:,}")
            case EpochDone():
                self._print(texts.epoch_line(report, progress, now - progress.started))
            case Evaluated():
                self._print(texts.evaluation_line(report), "green" if report.best else "")
            case _:
                style = "yellow" if isinstance(report, WorkerLost | WorkerSilent) else "dim"
                self._print(line, style)
        if now >= self._next and progress.total_steps:  # before the start there are no bars yet
            self._next = now + 1 / _REFRESH
            self._live.update(_block(progress, now, self._console.width), refresh=True)

    def closing(self, summary: texts.Summary, progress: Progress, now: float) -> None:
        self.close()
        lines = texts.closing_lines(summary, progress, now - progress.started)
        self._console.print(Text(lines[0], style="bold green" if summary.test else "yellow"))
        for line in lines[1:]:
            self._console.print(Text(line))

    def close(self) -> None:
        """Ends the display."""
        self._live.stop()

    def _print(self, line: str, style: str = "") -> None:
        self._console.print(Text(line, style=style))


def _block(progress: Progress, now: float, width: int) -> Group:
    """The lines of the display. The height is the same at any width: what does not fit is shortened, then left out."""
    where, run = texts.where(progress), f"run  {progress.step:,}/{progress.total_steps:,}"
    etas = [f"eta {texts.duration(eta)}" for eta in (progress.epoch_eta, progress.run_eta)]
    elapsed = f"elapsed {texts.duration(now - progress.started)}"
    room = width - max(len(where), len(run)) - max(map(len, etas)) - 2 * _GAP
    figures = texts.figures(progress, room - _GAP - _BAR[0])
    if not figures.endswith("/s"):
        figures = texts.figures(progress, room)  # the throughput says more than a bar
    bar = min(room - _GAP - max(len(figures), len(elapsed)), _BAR[1])
    epoch_bar = ProgressBar(progress.steps_per_epoch, progress.step_in_epoch, width=bar)
    run_bar = ProgressBar(max(1, progress.total_steps), progress.step, width=bar)
    head = _grid(4 if bar >= _BAR[0] else 3)
    for left, middle, eta, right in (
        (where, epoch_bar, etas[0], Text(figures, style="bold")),
        (run, run_bar, etas[1], Text(elapsed)),
    ):
        head.add_row(left, *([middle] if bar >= _BAR[0] else []), eta, right)
    workers = _grid(5)
    for row in progress.workers.values():
        pace = f"{1e3 * row.seconds:6.1f} ms"
        workers.add_row(Text(row.name, style="cyan"), f"pid {row.pid}", row.isa, pace, _state(row, progress.step))
    return Group(head, workers)


def _grid(columns: int) -> Table:
    grid = Table.grid(padding=(0, _GAP))
    for _ in range(columns):
        grid.add_column(no_wrap=True)
    return grid


def _state(row: WorkerRow, step: int) -> Text:
    """Whether the worker computes: a worker that took part in neither of the last two steps is idle."""
    if row.silent:
        return Text("silent", style="yellow")
    return Text(f"busy {row.busy:4.0%}" if row.last_step and step - row.last_step <= 1 else "idle")
