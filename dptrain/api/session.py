"""From a plan to an open run, through its training, to its end. Imports kernels."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple, TypeAlias

from dptrain.api.plan import Plan
from dptrain.cluster.events import Notice
from dptrain.errors import as_asked
from dptrain.kernels import isa
from dptrain.kernels.compiled import cache_directory
from dptrain.processes.stopping import Preparation, StopSignals
from dptrain.runs.directory import RunDirectory
from dptrain.runs.manifest import find_facts
from dptrain.runs.opening import open_run
from dptrain.runs.recorder import Recorder
from dptrain.runs.reporter import Banner, LiveReporter, QuietReporter, Reporter, choose
from dptrain.state import TrainingState
from dptrain.workers.coordinator import Life, threads
from dptrain.workers.coordinator import train as lead
from dptrain.workers.parts import Parts, open_parts

Tick: TypeAlias = Callable[[str], None]  #: shows a text in the place of the last one; "" at the end

_PATIENCE = 2.0  #: seconds before the first word; with compiled kernels a run begins after about one
_GLANCE = 0.5  #: seconds between two looks
_EVERY = 10.0  #: seconds between two lines where nothing can be shown in the place of another


@contextmanager
def word_about_compiling(tick: Tick | None = None, over: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Says on stderr what takes so long, where kernels are being compiled, and by `tick` (or in further lines) that it
    goes on, until the block is left or it is `over`. Whoever compiles, here or in another process, leaves files in the
    cache: where none appear, the machine is slow and there is nothing to say.
    """
    left, kept = Event(), _kept()
    thread = Thread(target=_watch, args=(kept, tick, lambda: left.wait(_GLANCE) or over()), name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join(_GLANCE)
        if tick:
            tick("")


def terminal_line() -> Tick | None:
    """A line of stderr that changes; None where that is no terminal that can do it."""
    able = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def tick(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return tick if able else None


def _watch(before: int, tick: Tick | None, over: Callable[[], bool]) -> None:
    begin, due = time.monotonic(), 0.0
    while not over():
        seconds, kernels = time.monotonic() - begin, _kept() - before
        if seconds < _PATIENCE or kernels <= 0:
            continue
        text = f"compiling kernels: {seconds:.0f} s, {kernels} so far"
        if not due:
            where = f"kept in {cache_directory()}"
            sys.stderr.write(f"compiling kernels for this network and CPU, once: about half a minute ({where})\n")
            due = seconds + _EVERY
        elif tick is None and seconds >= due:
            sys.stderr.write(f"{text}\n")
            due = seconds + _EVERY
        if tick:
            tick(text)


def _kept() -> int:
    return sum(1 for _ in Path(cache_directory()).rglob("*.nbc"))


class _Session(NamedTuple):
    directory: RunDirectory
    reporter: Reporter
    recorder: Recorder
    state: TrainingState | None  #: of the checkpoint to go on from


class Finished(NamedTuple):
    """How a training ended."""

    code: int  #: of the process: 0 complete or stopped as configured, 128 + n after signal n, else see dptrain.errors
    path: Path  #: run directory
    failure: str = ""  #: what went wrong, in a line; "" where nothing did


def train(plan: Plan, preparation: Preparation, *, launch: bool) -> Finished:
    """`launch`: with workers of this host, otherwise they connect from elsewhere.

    Raises Interrupted where a signal came before the training began: what `preparation` does may still go on.
    """
    with _hushed(quiet=plan.config.deployment.log_format == "quiet"), StopSignals(preparing=True) as stop:
        return _run(plan, stop, preparation, launch=launch)


def _run(plan: Plan, stop: StopSignals, preparation: Preparation, *, launch: bool) -> Finished:
    # What is wrong with the data shows here.
    parts: Parts = preparation.run(lambda: open_parts(plan.config, plan.config.deployment.data_dir))
    with _open(plan, parts) as session:
        life = Life(session.directory.term, session.directory.logs, session.state, launch)
        with _word_about_waiting(session):
            code = lead(parts, life, session.recorder, stop, preparation)
        failed = not as_asked(code)
        session.recorder.close(failed=failed)
    path, failure = session.directory.path, ""
    if failed:
        failure = session.recorder.failure or f"the run has failed; see {session.directory.logs}"
    return Finished(code, path, failure)


@contextmanager
def _hushed(*, quiet: bool) -> Iterator[None]:
    """Keeps warnings from stderr."""
    logger = logging.getLogger("dptrain")
    before = logger.level
    if quiet:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _word_about_waiting(session: _Session) -> AbstractContextManager[None]:
    reporter = session.reporter
    if isinstance(reporter, QuietReporter):
        return nullcontext()
    return word_about_compiling(
        reporter.waiting if isinstance(reporter, LiveReporter) else None, lambda: session.recorder.begun
    )


@contextmanager
def _open(plan: Plan, parts: Parts) -> Iterator[_Session]:
    """The run directory, locked, and the recorder; a new directory is removed if no run has begun in it."""
    run_facts = find_facts(parts.config, parts.source, parts.model, isa.NUMERICS)
    opened = open_run(run_facts, plan.resumed, parts.model)
    recorder: Recorder | None = None
    try:
        place, state, deployment = opened.directory, opened.state, plan.config.deployment
        reporter = choose(deployment.log_format, deployment.log_interval, place.path.name)
        recorder = Recorder(place, run_facts, reporter, step=state.step if state else 0)
        reporter.banner(Banner(run_facts, str(place.path), place.term, threads(deployment), isa.level()))
        for warning in opened.warnings:
            recorder.tell(Notice("warning", warning))
        yield _Session(place, reporter, recorder, state)
    finally:
        if recorder is not None:
            recorder.abort()
        opened.close(begun=recorder is not None and recorder.begun)
