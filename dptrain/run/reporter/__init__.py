"""Ways to show a run on the terminal: a live display, plain lines, JSON lines, or nothing. They decide nothing."""

from __future__ import annotations

import os
import sys

from dptrain.run.reporter.jsonlines import JsonReporter
from dptrain.run.reporter.live import LiveReporter
from dptrain.run.reporter.plain import PlainReporter
from dptrain.run.reporter.quiet import QuietReporter
from dptrain.run.reporter.texts import Banner

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
