"""Exit codes and errors. The type of an error says what is at fault; its exit code says whether to start again.

`EXIT_CODES` is the one table: docs/reference/exit-codes.md shows it, and a test compares the two.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a process of dptrain ends with. 64, 70, 75 and 78 have the meaning of sysexits.h."""

    DONE = 0
    FAULT_FOUND = 1
    NOTHING_TO_COMPARE = 2
    USAGE = 64
    FAILED = 70
    TEMPORARY = 75
    CONFIGURATION = 78
    SIGHUP = 128 + signal.SIGHUP  #: as a shell counts the processes that a signal ended
    SIGINT = 128 + signal.SIGINT
    SIGPIPE = 128 + signal.SIGPIPE
    SIGTERM = 128 + signal.SIGTERM


#: After these signals dptrain ends in good order. (A process that ends at once has a negative Popen.returncode.)
SIGNALLED = (ExitCode.SIGHUP, ExitCode.SIGINT, ExitCode.SIGPIPE, ExitCode.SIGTERM)

#: (code, meaning, cause), one row per cause.
EXIT_CODES: tuple[tuple[ExitCode, str, str], ...] = (
    (
        ExitCode.DONE,
        "done",
        "The command succeeded. A run is complete, or stopped at `--max-steps`.",
    ),
    (
        ExitCode.FAULT_FOUND,
        "something is wrong",
        "A fault found by `doctor`, `check` or `gradcheck`; `verify`: the bits differ.",
    ),
    (ExitCode.NOTHING_TO_COMPARE, "nothing to compare", "`verify` only: the two runs have no hashed step in common."),
    (ExitCode.USAGE, "usage", "The command line cannot be understood."),
    (ExitCode.FAILED, "the run failed", "The training diverged: the loss became NaN or infinite."),
    (
        ExitCode.FAILED,
        "the run failed",
        "Three workers died on the same shard, or one worker repeatedly disconnected while it held a shard.",
    ),
    (ExitCode.FAILED, "bug", "An error in dptrain."),
    (
        ExitCode.TEMPORARY,
        "temporary: start again",
        "The connection to the coordinator was lost for a minute; workers failed; no worker came within `--max-wait`; "
        "the output cannot be written.",
    ),
    (
        ExitCode.CONFIGURATION,
        "configuration: do not start again",
        "A setting, recipe or data set is wrong, or a file is missing.",
    ),
    (
        ExitCode.CONFIGURATION,
        "configuration: do not start again",
        "The checkpoint that was given is damaged, or every checkpoint of the run is; or a checkpoint belongs to "
        "another run.",
    ),
    (
        ExitCode.CONFIGURATION,
        "configuration: do not start again",
        "The run directory cannot be made, locked or written, or the disk stayed full until the end.",
    ),
    (
        ExitCode.CONFIGURATION,
        "configuration: do not start again",
        "The coordinator refused this worker: another version, data set or arithmetic, a key that is not listed, or "
        "wrong results.",
    ),
    (ExitCode.CONFIGURATION, "configuration: do not start again", "Not enough memory."),
    (ExitCode.SIGHUP, "stopped by SIGHUP", "The terminal was closed. A run writes a checkpoint first."),
    (
        ExitCode.SIGINT,
        "stopped by SIGINT",
        "Ctrl-C. A run writes a checkpoint first; a second Ctrl-C ends it at once.",
    ),
    (
        ExitCode.SIGPIPE,
        "stopped by SIGPIPE",
        "The reader of the output ended (`head`). A run writes a checkpoint first.",
    ),
    (ExitCode.SIGTERM, "stopped by SIGTERM", "`kill`, Docker or a batch system. A run writes a checkpoint first."),
)


def exit_code_of(reason: str, otherwise: int = ExitCode.DONE) -> int:
    """The exit code after a stop. `reason`: the name of a signal, else the stop was asked for in another way."""
    return next((code for code in SIGNALLED if code.name == reason), otherwise)


def as_asked(code: int) -> bool:
    """Whether a process ended because it was done or was asked to stop, and nothing failed."""
    return code == ExitCode.DONE or code in SIGNALLED


def run_code(worker_code: int) -> int:
    """What a run ends with when a worker that ended with this code (as Popen.returncode) is the cause."""
    if worker_code in (ExitCode.FAILED, 1):  # 1: Python's own, after an exception that was not caught
        return ExitCode.FAILED
    return ExitCode.CONFIGURATION if worker_code == ExitCode.CONFIGURATION else ExitCode.TEMPORARY


class DptrainError(Exception):
    """Base; never raised itself. The message is one line a user can act on; notes are further lines with details."""

    exit_code: int = ExitCode.FAILED


class UsageError(DptrainError):
    """The command line, a recipe or a configuration asks for something impossible."""

    exit_code = ExitCode.CONFIGURATION


class MissingArgumentError(UsageError):
    """The command line lacks a required argument."""

    exit_code = ExitCode.USAGE


class DataError(DptrainError):
    """A data set is missing or damaged, or its files are of another kind than its name says."""

    exit_code = ExitCode.CONFIGURATION


class MissingDataError(DataError):
    """A named data set is not on this machine."""


class CheckpointError(DptrainError):
    """A checkpoint is damaged, or belongs to another run."""

    exit_code = ExitCode.CONFIGURATION


class RunDirectoryError(DptrainError):
    """The run directory cannot be made, locked or written."""

    exit_code = ExitCode.CONFIGURATION


class RefusedError(DptrainError):
    """The coordinator refused this worker: another version, data set or arithmetic. Do not start it again."""

    exit_code = ExitCode.CONFIGURATION


class ConnectionLostError(DptrainError):
    """The other side has ended or never answered. Starting again may help."""

    exit_code = ExitCode.TEMPORARY


class TrainingError(DptrainError):
    """The training cannot go on: its workers failed, or no worker came."""

    exit_code = ExitCode.TEMPORARY


class DivergedError(DptrainError):
    """The training produced NaN or infinity."""

    exit_code = ExitCode.FAILED


class LocalProtocolError(DptrainError):
    """Our side tried to send what the protocol forbids: a bug in dptrain."""

    exit_code = ExitCode.FAILED


class RemoteProtocolError(DptrainError):
    """A peer sent what the protocol forbids. The peer is ignored from then on, and no state changes."""

    exit_code = ExitCode.FAILED


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean X?` for the most similar of the names, or "" where none is similar."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
