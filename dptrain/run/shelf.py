"""The checkpoints of one run directory: last, best, and the newest few by step. What is in one: `checkpoint.py`."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dptrain.errors import CheckpointError
from dptrain.run.atomic import sync_directory, write_atomically
from dptrain.run.checkpoint import Checkpoint, load

LAST = "last.safetensors"
BEST = "best.safetensors"
_NUMBERED = re.compile(r"step-(\d{8,})\.safetensors")


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of checkpoints."""

    folder: Path
    keep: int  #: numbered ones kept

    def put(self, content: bytes, step: int, *, best: bool) -> Path:
        """Writes last.safetensors (and best, and step-N), each whole or not at all. Raises OSError: old ones stay."""
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
        """Makes `content`, of an earlier step, the last one, and removes what is of later steps: it does not count any
        more. After a crash or a power cut at any instant either nothing has happened, or `content` is there, and of the
        void ones what is there is whole. Raises OSError: they are there still.
        """
        numbered = self._numbered(step)
        write_atomically(numbered, content)  # where the disk is full, it is told now; until the end it has this name
        for path in self._behind(step):
            path.unlink(missing_ok=True)
        sync_directory(self.folder)
        _same_file(numbered, self.folder / LAST)
        sync_directory(self.folder)
        self._prune()

    def _behind(self, step: int) -> list[Path]:
        """Those of later steps. One that is damaged is none: nobody goes on from it."""
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
        """The whole checkpoint with the highest step, and a warning for each damaged one.

        Damaged files are set aside under NAME.damaged. Raises CheckpointError where there are files and none is whole.
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
            raise CheckpointError(f"no checkpoint in {self.folder} is whole: {'; '.join(warnings)}")
        return max(found, key=lambda c: c.step, default=None), warnings


def find(target: Path) -> Path:
    """A checkpoint file, or a run directory's best (else last) one. Raises CheckpointError."""
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


def _step(path: Path) -> int:
    match = _NUMBERED.fullmatch(path.name)
    return int(match[1]) if match else -1


def _same_file(source: Path, target: Path) -> None:
    """Gives `target` the content of `source`: a hard link, or a copy where the file system has none."""
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
