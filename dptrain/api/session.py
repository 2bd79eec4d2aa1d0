"""A training, from its plan to its end: the data, the run directory, the recorder, the coordinator. Imports kernels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit
from typing import NamedTuple

from dptrain.api.callbacks import Callbacks, Listening
from dptrain.api.compiling import word_about_compiling
from dptrain.api.plan import Plan
from dptrain.cluster.events import Notice
from dptrain.course import make_course
from dptrain.errors import UsageError, as_asked
from dptrain.kernels import isa
from dptrain.processes.stopping import Preparation, StopFlag, StopSignals
from dptrain.runs.manifest import find_facts
from dptrain.runs.opening import open_run
from dptrain.runs.recorder import Recorder
from dptrain.runs.reporter import Banner, LiveReporter, QuietReporter, Reporter, choose
from dptrain.workers.coordinator import Life
from dptrain.workers.coordinator import train as lead
from dptrain.workers.parts import open_parts

#: Open files of a training: measured at the start of one without workers (22) and of one with three (36), and doubled.
_FILES, _FILES_PER_WORKER = 44, 10


class TrainingResult(NamedTuple):
    """What a training left."""

    code: int  #: exit code
    path: Path  #: run directory
    failure: str = ""  #: the error that ended it, in one line; "": none


def train(plan: Plan, preparation: Preparation, *, launch: bool, callbacks: Callbacks | None = None) -> TrainingResult:
    """Trains the plan. `launch`: with workers of this host; otherwise workers connect from elsewhere.

    Signals end it in the main thread. In another one they stay with the caller.
    Raises UsageError, DataError, RunDirectoryError and CheckpointError before the training begins, and Interrupted when
    a signal comes before; the work of `preparation` may go on then.
    """
    deployment = plan.config.deployment
    _allow_files(_FILES + _FILES_PER_WORKER * (deployment.workers + deployment.augmenters))
    with _only_errors(quiet=deployment.log_format == "quiet"), _stop() as stop:
        parts = preparation.run(lambda: open_parts(plan.config, deployment.data_dir))
        facts = find_facts(parts.config, parts.source, parts.model, isa.NUMERICS)
        course = make_course(parts.config, parts.source, parts.criterion)
        run = open_run(facts, plan.resumed, parts.model, course)
        recorder: Recorder | None = None
        try:
            path, term, logs = run.directory.path, run.directory.term, run.directory.logs
            reporter = choose(deployment.log_format, deployment.log_interval, path.name)
            recorder = Recorder(run.directory, facts, reporter, step=run.state.step if run.state else 0)
            reporter.banner(Banner(facts, str(path), term, deployment.computing_threads, isa.level()))
            for warning in run.warnings:
                recorder.tell(Notice("warning", warning))
            heard = Listening(recorder, callbacks, course.validates) if callbacks else recorder
            with _word_about_compiling(reporter, recorder):
                code = lead(parts, Life(term, logs, run.state, launch), heard, stop, preparation)
            failed = not as_asked(code)
            recorder.close(failed=failed)
        finally:
            if recorder is not None:
                recorder.abort()
            run.close(begun=recorder is not None and recorder.begun)
    return TrainingResult(code, path, (recorder.failure or f"the run has failed; see {logs}") if failed else "")


def _stop() -> StopSignals | StopFlag:
    """Only the main thread receives signals."""
    main = threading.current_thread() is threading.main_thread()
    return StopSignals(preparing=True) if main else StopFlag()


def _allow_files(needed: int) -> None:
    """Raises the number of files that this process and its workers may open, up to what the system allows.

    Raises UsageError if that is not enough: ZeroMQ would end the process in the middle of its start.
    """
    soft, hard = getrlimit(RLIMIT_NOFILE)
    if soft == RLIM_INFINITY or soft >= needed:
        return
    if hard != RLIM_INFINITY and hard < needed:
        raise UsageError(f"this process may open {hard} files, but this training needs {needed}: raise `ulimit -n`")
    setrlimit(RLIMIT_NOFILE, (needed, hard))


@contextmanager
def _only_errors(*, quiet: bool) -> Iterator[None]:
    """With `quiet`, keeps warnings from stderr."""
    logger = logging.getLogger("dptrain")
    before = logger.level
    if quiet:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _word_about_compiling(reporter: Reporter, recorder: Recorder) -> AbstractContextManager[None]:
    """Until the first step, reports kernels that are being compiled."""
    if isinstance(reporter, QuietReporter):
        return nullcontext()
    return word_about_compiling(
        reporter.waiting if isinstance(reporter, LiveReporter) else None, lambda: recorder.begun
    )
