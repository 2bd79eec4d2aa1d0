"""The error tree. The type says whose fault it is; the exit code says what a launcher should do.

Exit codes: 0 done, 64 usage, 70 the training diverged, a shard took several workers with it, or a bug in dptrain,
75 temporary (start again), 78 configuration (do not start again). `check`, `gradcheck`, `doctor` and `verify` end with
1 where something is not as it should be.
Ctrl-C and SIGTERM during training end with 130 and 143 after the checkpoint is written.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DptrainError(Exception):
    """Base; never raised itself. The message is one line a user can act on; notes are further lines with details."""

    exit_code = 70


class UsageError(DptrainError):
    """The command line, a recipe or a configuration asks for something impossible."""

    exit_code = 78


class MissingArgumentError(UsageError):
    """The command line lacks what the verb cannot do without."""

    exit_code = 64


class DataError(DptrainError):
    """A data set is missing, damaged or not what it says it is."""

    exit_code = 78


class MissingDataError(DataError):
    """A data set that has a name is not here."""


class CheckpointError(DptrainError):
    """A checkpoint is damaged, or belongs to another run."""

    exit_code = 78


class RunDirectoryError(DptrainError):
    """The run directory cannot be made, locked or written."""

    exit_code = 78


class RefusedError(DptrainError):
    """The coordinator refused this worker (other version, other data, other numerics): do not start it again."""

    exit_code = 78


class ConnectionLostError(DptrainError):
    """The other side is gone or never answered; starting again may help."""

    exit_code = 75


class TrainingError(DptrainError):
    """The training cannot go on: its workers failed, or nobody was there."""

    exit_code = 75


class DivergedError(DptrainError):
    """The training produced NaN or infinity."""

    exit_code = 70


class LocalProtocolError(DptrainError):
    """We tried to do what the protocol forbids: a bug here."""

    exit_code = 70


class RemoteProtocolError(DptrainError):
    """A peer sent what the protocol forbids: the peer is dropped, state does not change."""

    exit_code = 70


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean X?` for the most similar of the names, or "" where none is similar."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
