"""The checkpoint files of a run: `Shelf` writes, replaces and finds them, `CheckpointWriter` does so on a thread.

One checkpoint is being written and at most two wait (the newest, and the newest best one), so memory stays bounded on a
slow disk. A checkpoint that could not be written is tried again, until a newer one replaces it. What one file contains:
`checkpoint.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dptrain.atomic import sync_directory, write_atomically
from dptrain.errors import CheckpointError, DptrainError
from dptrain.runs.checkpoint import Checkpoint, load
from dptrain.state import TrainingState

LAST = "last.safetensors"
BEST = "best.safetensors"
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0  #: seconds
_NUMBERED = re.compile(r"step-(\d{8,})\.safetensors")


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder of a run's checkpoints: last.safetensors, best.safetensors, and step-N.safetensors."""

    folder: Path
    keep: int  #: how many step-N files are kept

    def put(self, content: bytes, step: int, *, best: bool) -> Path:
        """Writes last (and best, and step-N), each completely or not at all. Raises OSError; then old files stay."""
        last = self.folder / LAST
        if self.keep:
            numbered = self._numbered(step)
            write_atomically(numbered, content)
            _same_file(numbered, last)
        else:
            write_atomically(last, content)
        if best:
            _same_file(last, self.folder / BEST)
        sync_directory(self.folder)
        self._prune()
        return last

    def go_back(self, content: bytes, step: int) -> None:
        """Makes `content`, of an earlier step, the last checkpoint, and removes those of later steps: they are void.

        After a crash or a power cut at any time, either nothing has happened, or `content` is there and every void file
        that is left is intact. Raises OSError; then the later ones are still there.
        """
        numbered = self._numbered(step)
        write_atomically(numbered, content)  # on a full disk this fails, before anything is removed
        for path in self._after(step):
            path.unlink(missing_ok=True)
        sync_directory(self.folder)
        _same_file(numbered, self.folder / LAST)
        sync_directory(self.folder)
        self._prune()

    def _after(self, step: int) -> list[Path]:
        """The files of later steps; damaged ones are not among them, since no run continues from one."""
        found = [path for path in self.numbered() if _step(path) > step]
        for path in (self.folder / LAST, self.folder / BEST):
            with suppress(CheckpointError):  # not there, or damaged
                found += [path] if load(path).step > step else []
        return found

    def _numbered(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.safetensors"

    def _prune(self) -> None:
        for old in self.numbered()[self.keep :]:
            old.unlink(missing_ok=True)

    def numbered(self) -> list[Path]:
        """step-N files, newest first."""
        return sorted((p for p in self.folder.iterdir() if _NUMBERED.fullmatch(p.name)), key=_step, reverse=True)

    def newest_valid(self) -> tuple[Checkpoint | None, list[str]]:
        """The intact checkpoint with the highest step, and one warning per damaged file.

        Damaged files are renamed to NAME.damaged. Raises CheckpointError if there are files and all are damaged.
        """
        found: list[Checkpoint] = []
        warnings: list[str] = []
        names = [self.folder / LAST, *self.numbered(), self.folder / BEST]
        for path in (p for p in names if p.exists()):
            if found and path.name not in (LAST, BEST) and _step(path) <= max(c.step for c in found):
                continue
            try:
                found.append(load(path))
            except CheckpointError as error:
                warnings.append(str(error))
                path.rename(path.with_name(path.name + ".damaged"))
        if not found and warnings:
            raise CheckpointError(f"every checkpoint in {self.folder} is damaged: {'; '.join(warnings)}")
        return max(found, key=lambda c: c.step, default=None), warnings


def find(target: Path) -> Path:
    """The checkpoint file that `target` is, or the best (else last) one of a run directory. Raises CheckpointError."""
    if target.is_file():
        return target
    folder = target / "checkpoints"
    for name in (BEST, LAST):
        if (folder / name).is_file():
            return folder / name
    if target.is_dir():
        raise CheckpointError(
            f"{target} holds no checkpoint ({folder}/{LAST}): give a run directory or a .safetensors file"
        )
    raise CheckpointError(f"{target}: no such file or directory; give a run directory or a .safetensors file")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt to write a checkpoint."""

    step: int
    error: str = ""  #: why it was not written; "": it was
    attempt: int = 1
    fatal: DptrainError | None = None  #: no further attempt can succeed: another coordinator has the run directory


@dataclass(slots=True)
class _Task:
    state: TrainingState  #: a copy that does not change
    best: bool
    attempt: int = 1


class CheckpointWriter:
    """Calls `write(state, best)` on its thread; `write` raises OSError if the disk is full."""

    def __init__(self, write: Callable[[TrainingState, bool], None], retry: float = FIRST_RETRY) -> None:
        self._write, self._retry = write, retry
        self._condition = threading.Condition()
        self._waiting: list[_Task] = []  #: oldest first
        self._closing = False
        self._outcomes: list[Outcome] = []
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def put(self, state: TrainingState, *, best: bool) -> None:
        """Never blocks. `state` must not change any more; it replaces older states that still wait."""
        with self._condition:
            self._waiting = [task for task in self._waiting if task.best and not best]
            self._waiting.append(_Task(state, best))
            self._condition.notify_all()

    def take(self) -> list[Outcome]:
        """The results since the last call."""
        with self._condition:
            outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def close(self) -> list[Outcome]:
        """Waits until everything is written or has failed once more; returns the results."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()
        return self.take()

    def _run(self) -> None:
        while True:
            task = self._next()
            if task is None:
                return
            outcome = self._attempt(task)
            with self._condition:
                self._outcomes.append(outcome)
                if outcome.error and outcome.fatal is None and not self._closing:
                    self._retry_later(task)
                self._condition.notify_all()

    def _next(self) -> _Task | None:
        """The oldest waiting task, when its time has come; None: the writer is closed."""
        with self._condition:
            while True:
                if self._waiting:
                    pause = self._pause(self._waiting[0])
                    if pause <= 0.0 or self._closing or not self._condition.wait(pause):
                        return self._waiting.pop(0)
                elif self._closing:
                    return None
                else:
                    self._condition.wait()

    def _pause(self, task: _Task) -> float:
        return 0.0 if task.attempt == 1 else min(LONGEST_RETRY, self._retry * 2.0 ** (task.attempt - 2))

    def _retry_later(self, task: _Task) -> None:
        """Puts the task back to the front, unless a newer one replaces it."""
        if not any(other.best or not task.best for other in self._waiting):
            self._waiting.insert(0, _Task(task.state, task.best, task.attempt + 1))

    def _attempt(self, task: _Task) -> Outcome:
        step = task.state.step
        try:
            self._write(task.state, task.best)
        except OSError as error:
            return Outcome(step, error.strerror or str(error), task.attempt)
        except DptrainError as error:
            return Outcome(step, str(error), task.attempt, error)
        return Outcome(step, attempt=task.attempt)


def _step(path: Path) -> int:
    match = _NUMBERED.fullmatch(path.name)
    return int(match[1]) if match else -1


def _same_file(source: Path, target: Path) -> None:
    """Gives `target` the content of `source`: by a hard link, or by a copy if the file system has no hard links."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
