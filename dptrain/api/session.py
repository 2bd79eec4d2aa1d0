"""From a plan to an open run, through its training, to its end. Imports kernels."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from dptrain.api.compiling import word_about_compiling
from dptrain.api.plan import Plan
from dptrain.cluster.reports import Notice
from dptrain.cluster.state import TrainingState
from dptrain.configfile import to_toml
from dptrain.errors import RunDirectoryError
from dptrain.kernels import isa
from dptrain.run import directory
from dptrain.run.condition import diverged
from dptrain.run.facts import RunFacts, find_facts
from dptrain.run.manifest import manifest, start
from dptrain.run.recorder import Recorder
from dptrain.run.reporter import Banner, LiveReporter, QuietReporter, Reporter, choose
from dptrain.run.shelf import Shelf
from dptrain.transport.preparation import Preparation
from dptrain.transport.stopping import StopSignals
from dptrain.workers.coordinator import Life, threads
from dptrain.workers.coordinator import train as lead
from dptrain.workers.parts import Parts, open_parts

#: A stop that was asked for is no error: 0, Ctrl-C, SIGTERM, SIGHUP, an output nobody reads.
_ASKED_FOR = (0, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP, 128 + signal.SIGPIPE)


_AGAIN = "this run has diverged, and the same bits diverge again at the same step: start a new one with a lower --lr"


class _Session(NamedTuple):
    directory: directory.RunDirectory
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
            code: int = lead(parts, life, session.recorder, stop, preparation)
        failed = code not in _ASKED_FOR
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
    """The run directory, locked, and the recorder; a new directory is removed where no run has begun in it."""
    run_facts = find_facts(parts.config, parts.source, parts.model, isa.NUMERICS)
    place = _open_directory(plan, run_facts)
    recorder: Recorder | None = None
    try:
        state, warnings = _stored_state(place, run_facts, parts)
        deployment = plan.config.deployment
        reporter = choose(deployment.log_format, deployment.log_interval, place.path.name)
        recorder = Recorder(place, run_facts, reporter, step=state.step if state else 0)
        reporter.banner(Banner(run_facts, str(place.path), place.term, threads(deployment), isa.level()))
        for warning in warnings:
            recorder.tell(Notice("warning", f"{warning}; going on from an older checkpoint"))
        if diverged(place.path):
            recorder.tell(Notice("warning", _AGAIN))
        yield _Session(place, reporter, recorder, state)
    finally:
        if recorder is not None:
            recorder.abort()
        if plan.resumed is None and (recorder is None or not recorder.begun):
            place.discard()
        place.close()


def _open_directory(plan: Plan, run_facts: RunFacts) -> directory.RunDirectory:
    if plan.resumed:
        return directory.reopen(plan.resumed, start(0, sys.argv[1:]))
    deployment = plan.config.deployment
    parent, toml = Path(deployment.runs).expanduser(), to_toml(plan.config)
    content = manifest(run_facts) | {"starts": [start(1, sys.argv[1:])]}
    if deployment.name:
        return directory.create(parent, deployment.name, toml, content)
    wanted = f"{datetime.now().astimezone():%Y-%m-%d-%H%M}-{run_facts.data.name}"
    return directory.create_next(parent, wanted, toml, content)


def _stored_state(
    place: directory.RunDirectory, run_facts: RunFacts, parts: Parts
) -> tuple[TrainingState | None, list[str]]:
    found, warnings = Shelf(place.checkpoints, run_facts.config.deployment.keep).newest_valid()
    if found is None:
        if directory.stored_identity(place.path) != run_facts.identity:
            raise RunDirectoryError(f"{place.path} is of a run over other data: start a new run with another --name")
        return None, warnings
    found.refuse_other_run(run_facts)
    return found.state(parts.model.params, parts.model.buffers), warnings
