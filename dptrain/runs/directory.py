"""runs/NAME/: made completely or not at all, locked by one coordinator, its starts counted as terms."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dptrain.atomic import remove_unfinished, sync_directory, write_atomically
from dptrain.errors import RunDirectoryError, UsageError
from dptrain.recipefile import from_toml, to_toml
from dptrain.settings import Config, build, check, stored

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A locked run directory. `close` releases the lock; so does the end of the process."""

    path: Path
    term: int  #: number of this start of a coordinator; the first is 1
    lock: int  #: file descriptor that holds the flock
    identity: str  #: SHA-256 that run.json names the run by

    @property
    def checkpoints(self) -> Path:
        """Folder of *.safetensors."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.path / "logs"

    def hold(self) -> None:
        """Raises RunDirectoryError if a newer term has begun: the only protection on a file system without locks.

        Raises OSError if the term cannot be read.
        """
        text = (self.path / "term").read_text(encoding="utf-8", errors="replace").strip()
        if text != str(self.term):
            raise RunDirectoryError(
                f"{self.path} has been taken over by another coordinator (term {text[:40]}, this one is {self.term})"
            )

    def close(self) -> None:
        """Releases the lock. The directory stays."""
        os.close(self.lock)

    def discard(self) -> None:
        """Removes a directory in which no run has begun. Call `close` after it."""
        shutil.rmtree(self.path, ignore_errors=True)


def create(parent: Path, name: str, config_toml: str, manifest: dict[str, Any]) -> RunDirectory:
    """Makes parent/NAME with config.toml, run.json and term 1, locked. Raises RunDirectoryError and leaves nothing."""
    path = parent / name
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunDirectoryError(_exists(path))
    _remove_abandoned(parent, name)
    temporary = parent / f".{name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir(parents=True)
        lock = _lock(temporary)
        try:
            (temporary / "checkpoints").mkdir()
            (temporary / "logs").mkdir()
            write_atomically(temporary / "config.toml", config_toml.encode())
            write_atomically(temporary / "run.json", _json(manifest))
            write_atomically(temporary / "term", b"1\n")
            temporary.rename(path)  # the kernel refuses if another process has filled it meanwhile
            sync_directory(parent)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and path.exists():
            raise RunDirectoryError(_exists(path)) from error
        raise RunDirectoryError(f"run directory {path} cannot be made: {error.strerror}: {error.filename}") from error
    return RunDirectory(path, 1, lock, str(manifest.get("identity")))


def _remove_abandoned(parent: Path, name: str) -> None:
    """Removes what a killed `create` has left: a temporary directory whose lock no process has."""
    for temporary in parent.glob(f".{name}.*.tmp"):
        try:
            if not (temporary / "lock").exists():
                continue  # another process may be about to make it
            os.close(_lock(temporary))
        except (OSError, RunDirectoryError):
            continue
        shutil.rmtree(temporary, ignore_errors=True)


def create_next(parent: Path, wanted: str, config_toml: str, manifest: dict[str, Any]) -> RunDirectory:
    """`create` with the name `wanted`, or wanted-2, wanted-3, ... if that is taken, possibly at this moment."""
    for name in [wanted, *(f"{wanted}-{i}" for i in range(2, 1_000))]:
        if (parent / name).exists():
            continue
        try:
            return create(parent, name, config_toml, manifest)
        except RunDirectoryError:
            if not (parent / name).exists():
                raise
    raise RunDirectoryError(f"{parent} holds 999 runs called {wanted}: give one with --name")


def reopen(path: Path, start: dict[str, Any]) -> RunDirectory:
    """Locks an existing run directory, increments its term and adds `start` to run.json. Raises RunDirectoryError."""
    if not (path / "config.toml").is_file():
        raise RunDirectoryError(f"{path} is no run directory (it has no config.toml): --resume takes runs/NAME or auto")
    try:
        lock = _lock(path)
    except OSError as error:
        raise RunDirectoryError(f"run directory {path} cannot be locked: {error.strerror}") from error
    try:
        for name in ("checkpoints", "logs"):
            (path / name).mkdir(exist_ok=True)  # a copy of a run may lack empty folders
        for folder in (path, path / "checkpoints"):
            remove_unfinished(folder)
        term = _next_term(path)
        manifest = read_manifest(path)
        manifest["starts"].append(start | {"term": term})
        write_atomically(path / "run.json", _json(manifest))
    except OSError as error:
        os.close(lock)
        raise RunDirectoryError(f"run directory {path} cannot be written: {error.strerror}") from error
    except BaseException:  # a signal that interrupts the start too
        os.close(lock)
        raise
    return RunDirectory(path, term, lock, str(manifest.get("identity")))


def extend(path: Path, epochs: int, manifest: dict[str, Any]) -> None:
    """Stores that the run has more epochs from now on, and so another identity. `manifest`: its part of run.json.

    After a crash between the two files the next start finds the old number of epochs, which its checkpoints allow.
    Raises RunDirectoryError.
    """
    config = build({"epochs": epochs}, stored_config(path))
    try:
        write_atomically(path / "run.json", _json(manifest | {"starts": read_manifest(path)["starts"]}))
        write_atomically(path / "config.toml", to_toml(config).encode())
    except OSError as error:
        raise RunDirectoryError(f"run directory {path} cannot be written: {error.strerror}") from error


def stored_config(path: Path) -> Config:
    """The resolved configuration the run was started with. Raises RunDirectoryError."""
    file = path / "config.toml"
    try:
        config = stored(from_toml(file.read_text(encoding="utf-8")))
        check(config)
    except OSError as error:
        raise RunDirectoryError(f"{path} is no run directory: {file} cannot be read: {error.strerror}") from error
    except (UsageError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{file} cannot be used: {error}") from error
    return config


def read_manifest(path: Path) -> dict[str, Any]:
    """run.json. Raises RunDirectoryError."""
    file = path / "run.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunDirectoryError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(f"{file} is damaged: {error}") from error
    starts = manifest.get("starts") if isinstance(manifest, dict) else None
    if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
        raise RunDirectoryError(f"{file} is damaged: it has no list of starts")
    return dict(manifest)


def to_resume(runs: Path, name: str, resume: str) -> Path | None:
    """The run directory that `resume` names; None: a new run. "auto" means runs/NAME, or runs/latest without a name."""
    if not resume:
        return None
    if resume != "auto":
        path = Path(resume).expanduser()
        if not path.is_dir():
            raise RunDirectoryError(f"--resume {resume}: no such directory; give a run directory, or auto")
        return _followed(path)
    path = runs / (name or LATEST)
    return _followed(path) if (path / "config.toml").is_file() else None


def link_latest(path: Path) -> None:
    """runs/latest -> NAME, when a run has begun. Anything else of that name is left alone."""
    link = path.parent / LATEST
    temporary = path.parent / f".{LATEST}.{os.getpid()}.tmp"
    if link.exists() and not link.is_symlink():
        return
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)


def _followed(path: Path) -> Path:
    """runs/latest -> runs/NAME: messages name the run itself, and another start may move the link."""
    return path.parent / path.readlink() if path.is_symlink() else path


def _exists(path: Path) -> str:
    owner = _owner(path)
    if owner:
        return f"run directory {path} is in use by {owner}; stop that run first, or choose another --name"
    if (path / "config.toml").is_file():
        return f"run directory {path} exists: continue it with --resume {path}, or choose another --name"
    return f"{path} exists and is no run directory: choose another --name"


def _owner(path: Path) -> str:
    """The process that has the lock; "": it is free."""
    try:
        with (path / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read(100).decode(errors="replace").strip() or "another process"
    except OSError:
        return ""
    return ""


def _lock(path: Path) -> int:
    """Takes the lock. Raises OSError, or RunDirectoryError if another coordinator has it."""
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(fd, 100, 0).decode(errors="replace").strip() or "another process"
        os.close(fd)
        raise RunDirectoryError(f"run directory {path} is in use by {owner}; stop that run first") from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"pid {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    return fd


def _next_term(path: Path) -> int:
    file = path / "term"
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    if not text.isdecimal():
        raise RunDirectoryError(f"{file} is damaged: it holds {text[:40]!r}, not a number")
    term = int(text) + 1
    write_atomically(file, f"{term}\n".encode())
    return term


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
