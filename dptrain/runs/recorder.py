"""Writes the coordinator's reports and checkpoints to the files of the run directory, and shows them by a reporter.

A full disk does not stop a training: what cannot be written waits in memory.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from dptrain.atomic import write_atomically
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
from dptrain.errors import RunDirectoryError
from dptrain.runs import metrics, texts
from dptrain.runs.checkpoint import pack
from dptrain.runs.directory import RunDirectory, link_latest
from dptrain.runs.manifest import RunFacts
from dptrain.runs.progress import Progress
from dptrain.runs.reporter import QuietReporter, Reporter
from dptrain.runs.shelf import CheckpointWriter, Outcome, Shelf
from dptrain.state import TrainingState

MOST = 64 * 1024 * 1024  #: bytes that may wait in memory: metrics of a quarter of a million steps


class PatientFile:
    """A file that is only appended to. `write` never raises, `sync` does. Two threads may use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault = ""  #: why bytes wait in memory; "" if none do
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray()
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Writes to the file; what cannot be written waits. Beyond MOST waiting bytes, `data` is lost."""
        with self._lock:
            if len(self._waiting) + len(data) <= MOST:
                self._waiting += data
            self._drain()

    def sync(self) -> None:
        """Makes everything durable. Raises OSError if that fails."""
        with self._lock:
            error = self._drain()
            if error is not None:
                raise error
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Tries to write once more, then closes. May be called twice."""
        with self._lock:
            if not self._file.closed:
                self._drain()
                self._file.close()

    def _drain(self) -> OSError | None:
        """Writes what waits. A write may take only a part; the rest follows later."""
        try:
            while self._waiting:
                done = self._file.write(self._waiting)
                del self._waiting[: done or 0]
        except OSError as error:
            self.fault = error.strerror or str(error)
            return error
        self.fault = ""
        return None


class JsonLines:
    """Appends records to a file. Records after `step` in an existing file are removed: those steps are repeated."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._cut(step)
        self._file = PatientFile(path)

    def _cut(self, step: int) -> None:
        there = self._path.exists()
        records = metrics.read(self._path) if there else []
        behind = (at for at, record in enumerate(records) if record["step"] > step)
        self.kept = records[: next(behind, len(records))]
        #: Records that are there already are not written twice (after a stop, the test split is scored again).
        self._kept_keys = set(map(metrics.key, self.kept))
        if there:
            write_atomically(self._path, b"".join(map(metrics.line, self.kept)))

    @property
    def fault(self) -> str:
        """Why records wait in memory; "" if none do."""
        return self._file.fault

    def write(self, record: metrics.Record) -> None:
        """Writes to the file (no fsync); on a full disk the record waits in memory."""
        if metrics.key(record) not in self._kept_keys:
            self._file.write(metrics.line(record))

    def back_to(self, step: int) -> None:
        """Removes the records after `step` while the file is in use. Raises OSError; then all of them stay."""
        self._file.sync()
        self._cut(step)
        self._file.close()
        self._file = PatientFile(self._path)

    def sync(self) -> None:
        """Makes the records durable: a checkpoint must not be ahead of the metrics. Raises OSError."""
        self._file.sync()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def event_line(report: WorkerAdmitted | WorkerLost | WorkerSilent | Notice, who: str = "worker") -> str:
    """One line for an event of a worker (or of a thread: see `texts.noun`), or for a notice."""
    if isinstance(report, WorkerAdmitted | WorkerLost):
        now = f"{report.workers} {who}{'s' * (report.workers != 1)} now"
    match report:
        case WorkerAdmitted():
            return f"{who} {report.name} admitted (pid {report.pid}, {report.isa}); {now}"
        case WorkerLost():
            shards = f"; shards {', '.join(map(str, report.shards))} go to another" if report.shards else ""
            return f"{who} {report.name} lost: {report.reason}{shards}; {now}"
        case WorkerSilent():
            silence = f"no message from {who} {report.name} for {report.seconds:.0f} s about {report.what}"
            return f"warning: {silence}: another {who} may take over"
        case Notice():
            return report.text if report.level == "info" else f"{report.level}: {report.text}"


class Recorder:
    """One per coordinator. `step`: of the checkpoint from which the run continues; later records are removed."""

    def __init__(
        self,
        directory: RunDirectory,
        facts: RunFacts,
        reporter: Reporter,
        step: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory, self._facts, self._reporter, self._clock = directory, facts, reporter, clock
        self._progress = Progress(clock())
        self._metrics = JsonLines(directory.path / "metrics.jsonl", step)
        self._hashes = JsonLines(directory.path / "hashes.jsonl", step)
        self._table = [r for r in self._metrics.kept if r["kind"] != "step"]
        self._log = PatientFile(directory.logs / "coordinator.log")
        self._shelf = Shelf(directory.checkpoints, facts.config.deployment.keep)
        self._writer = CheckpointWriter(self._write_checkpoint)
        self._unsaved = ""  #: why the newest checkpoint could not be written
        self._troubles: dict[str, str] = {}  #: file that cannot be written now -> why, as it was logged
        self._void_behind: int | None = None  #: checkpoints of later steps are void: remove them first
        self._hashed = step  #: the last step in hashes.jsonl; a checkpoint's step is there already
        self._noun = texts.noun(facts.config.deployment)
        command = texts.resuming(str(directory.path), facts.config.deployment)
        predict = texts.predicting(str(directory.path), facts.config.deployment)
        complete = any("test/acc" in r for r in self._table)
        self._summary = texts.Summary(str(directory.path), command, predict, complete_before=complete)
        self.failure = ""  #: the last error that was reported
        self.begun = False  #: the coordinator has reported its start

    def tell(self, report: Report) -> None:
        """Records and shows one report.

        Raises RunDirectoryError if another coordinator has taken over, and BrokenPipeError, once, if stdout is closed.
        """
        self._look()
        self._say(report)

    def _say(self, report: Report) -> None:
        now = self._clock()
        self._progress.update(report, now)
        line = ""  #: the same for the log and for the reporter
        match report:
            case StepDone():
                self._summary.complete_before = False  # it was, and has been given more epochs
                self._metrics.write(metrics.step_record(report, self._progress.step_seconds))
                if report.state_sha256:
                    self._hash(report.step, report.state_sha256, report.tensor_hashes)
            case TakenBack():
                self._back_to(report.step)
            case EpochDone():
                self._tabulate(metrics.epoch_record(report, self._progress.epoch_seconds))
            case Evaluated():
                self._tabulate(metrics.evaluation_record(report))
                if report.split == "test":
                    self._summary.test, self._summary.complete_before = report, False
            case WorkerAdmitted() | WorkerLost() | WorkerSilent() | Notice():
                line = event_line(report, self._noun)
                self._write_log(line)
                if isinstance(report, Notice) and report.level == "error":
                    self.failure = report.text
            case RunStarted():
                self.begun = True
                link_latest(self._directory.path)
                self._write_log(f"term {report.term}: step {report.step} of {report.total_steps}")
        try:
            self._reporter.tell(report, line, self._progress, now)
        except OSError as error:
            self._reporter = QuietReporter()
            if isinstance(error, BrokenPipeError):
                raise
            self._say(Notice("warning", f"the output cannot be written: {error.strerror}; training goes on without it"))

    def checkpoint(self, state: TrainingState, best: bool) -> None:  # noqa: FBT001  # the coordinator's action has it so
        """Hands a copy of the state to the writer, as the last checkpoint, also as the best one if `best`.

        Returns at once. A full disk does not stop the training: it is logged, and writing is tried again.
        """
        if state.step != self._hashed:
            self._hash(state.step, state.sha256(), state.tensor_hashes())
        self._writer.put(state.copied(), best=best)
        self._look()

    def _write_checkpoint(self, state: TrainingState, best: bool) -> None:  # noqa: FBT001  # as the writer calls it
        """Runs on the writer's thread. Makes the metrics durable first. Raises OSError and RunDirectoryError."""
        self._directory.hold()
        self._metrics.sync()
        self._hashes.sync()
        content = pack(state, self._facts, self._directory.term)
        if self._void_behind is not None and state.step <= self._void_behind:
            self._shelf.go_back(content, state.step)
            self._void_behind = None
        self._shelf.put(content, state.step, best=best)

    def _look(self) -> None:
        """Logs what has happened to the files. Raises RunDirectoryError if another coordinator has taken over."""
        for outcome in self._writer.take():
            self._outcome(outcome)
        for name, fault in (("metrics.jsonl", self._metrics.fault), ("hashes.jsonl", self._hashes.fault)):
            self._trouble(name, fault, "its records wait in memory")

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.fatal is not None:
            raise outcome.fatal
        text = f"checkpoint of step {outcome.step} in {self._directory.checkpoints}"
        self._unsaved = f"{text}: {outcome.error}" if outcome.error else ""
        self._trouble("checkpoints", self._unsaved, "the older checkpoint stays")

    def _trouble(self, what: str, fault: str, remedy: str) -> None:
        """Logs a fault when it begins or changes, and when it is over."""
        if fault == self._troubles.get(what, ""):
            return
        self._troubles[what] = fault
        if fault:
            text = fault if what == "checkpoints" else f"{self._directory.path / what}: {fault}"
            self._say(Notice("warning", f"{text}; training goes on, {remedy}; writing is tried again"))
        else:
            self._say(Notice("info", f"{self._directory.path / what}: can be written again"))

    def close(self, *, failed: bool = False) -> None:
        """Shows the result and closes the files. `failed`: an error has ended the run.

        Raises RunDirectoryError if the last checkpoint could not be written.
        """
        self._summary.failed = self.failure if failed else ""
        for outcome in self._writer.close():
            self._outcome(outcome)
        self._reporter.closing(self._summary, self._progress, self._clock())
        self.abort()
        if self._unsaved:
            raise RunDirectoryError(f"the end of the run is not saved: {self._unsaved}")

    def abort(self) -> None:
        """Closes the files and the reporter without showing anything. May be called twice."""
        self._writer.close()
        self._reporter.close()
        for file in (self._metrics, self._hashes, self._log):
            file.close()

    def _tabulate(self, record: metrics.Record) -> None:
        self._metrics.write(record)
        self._table.append(record)
        fault = ""
        try:
            write_atomically(self._directory.path / "summary.csv", metrics.to_csv(self._table).encode())
        except OSError as error:
            fault = error.strerror or str(error)
        self._trouble("summary.csv", fault, "the older one stays")

    def _back_to(self, step: int) -> None:
        """Removes the records after `step`. If that fails, they stay, and the right ones are appended later."""
        self._table = [r for r in self._table if r["step"] <= step]
        self._void_behind = step
        self._hashed = -1  # the file removes duplicates
        try:
            for file in (self._metrics, self._hashes):
                file.back_to(step)
        except OSError as error:
            self._say(Notice("warning", f"{self._directory.path}: {error.strerror}; records of void steps stay"))

    def _hash(self, step: int, sha256: str, tensors: tuple[tuple[str, str], ...]) -> None:
        self._hashes.write(metrics.hash_record(step, sha256, tensors))
        self._hashed = step

    def _write_log(self, line: str) -> None:
        self._log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n".encode())
