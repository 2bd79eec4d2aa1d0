"""Nothing on the terminal: errors go to stderr, from the command line's end; what happened is in the run's files."""

from __future__ import annotations

from dptrain.cluster.reports import Report
from dptrain.run.progress import Progress
from dptrain.run.reporter.texts import Banner, Ending


class QuietReporter:
    """Takes what every reporter is told."""

    def banner(self, banner: Banner) -> None:
        """Before the first report."""

    def tell(self, report: Report, progress: Progress, now: float) -> None:
        """After `progress` has taken the report in."""

    def closing(self, ending: Ending, progress: Progress, now: float) -> None:
        """After the last report."""

    def close(self) -> None:
        """Nothing is held."""
