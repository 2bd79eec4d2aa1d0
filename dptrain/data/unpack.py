"""Unpacks .tar.gz and .zip archives safely: no file outside the target, no links, no archive that fills the disk."""

from __future__ import annotations

import logging
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from dptrain.data.walk import LITTER, is_litter
from dptrain.errors import DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
_MOST_BYTES = 16 << 30  #: unpacked; SFDDD, the largest, has 4 GB
_MOST_FILES = 500_000  #: Tiny ImageNet has 120,000
_BLOCK = 1 << 20
_SAYS_UTF8 = 0x800  #: flag of a file in a .zip archive
_ASIDE = ".unpacking-"  #: prefix of the folder in which files wait until all are unpacked
_log = logging.getLogger(__name__)


class _Entry(NamedTuple):
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(
    archive: Path, into: Path, *, strip: bool = False, check: Callable[[list[PurePosixPath]], None] | None = None
) -> int:
    """Adds the files of the archive to `into`, replaces existing ones, and returns their number. Raises DataError.

    strip: remove a common first folder from their paths. check: called with the paths before a file is added.
    Everything is unpacked to a temporary folder first: a refused archive adds nothing, not even a folder. Only one
    process at a time may unpack into `into`: unfinished files there are taken for those of a killed process.
    """
    made: list[Path] = []
    try:
        made += [folder for folder in (into, *into.parents) if not folder.exists()]
        into.mkdir(parents=True, exist_ok=True)
        sweep(into)
        aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=into))
    except OSError as error:
        _remove_empty(made)
        raise DataError(f"{into} cannot be written: {error.strerror}") from error
    try:
        opened = _zip(archive) if archive.name.lower().endswith(".zip") else _tar(archive)
        paths = _write(archive, opened, aside)
        if check is not None:
            check(paths)
        shared = {path.parts[0] for path in paths}
        alone = strip and len(shared) == 1 and all(len(path.parts) > 1 for path in paths)
        for path in paths:
            target = into.joinpath(*path.parts[int(alone) :])
            target.parent.mkdir(parents=True, exist_ok=True)
            (aside / path).replace(target)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise DataError(f"{archive} is damaged, or no archive: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise DataError(f"{archive} cannot be unpacked into {into}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        _remove_empty(made)
    return len(paths)


def _remove_empty(made: list[Path]) -> None:
    """Removes the folders that are empty, the deepest first."""
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


def sweep(folder: Path) -> None:
    """Removes what a killed `unpack` has left in this folder."""
    for left in folder.glob(f"{_ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)


def _write(archive: Path, entries: Iterator[_Entry], aside: Path) -> list[PurePosixPath]:
    paths: list[PurePosixPath] = []
    left_out: list[PurePosixPath] = []
    total = 0
    for entry in entries:
        path = _inside(archive, entry.name)
        if any(is_litter(part) for part in path.parts):
            left_out.append(path)
            continue
        total += entry.size
        if total > _MOST_BYTES or len(paths) >= _MOST_FILES:
            raise DataError(f"{archive} holds more than {_MOST_BYTES:,} bytes or {_MOST_FILES:,} files: refused")
        target = aside / path
        target.parent.mkdir(parents=True, exist_ok=True)
        left = entry.size  # the announced size; more is refused
        with entry.open() as source, target.open("wb") as file:
            while block := source.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise DataError(f"{archive}: {entry.name[:100]!r} is longer than announced: refused")
                file.write(block)
        if left:
            raise DataError(f"{archive} is damaged: {entry.name[:100]!r} is {left:,} bytes short")
        paths.append(path)
    if left_out:
        _log.warning("%s: %d files are left out: %s (first: %s)", archive, len(left_out), LITTER, left_out[0])
    if not paths:
        raise DataError(f"{archive} is empty")
    return paths


def _inside(archive: Path, name: str) -> PurePosixPath:
    """The name as a path below the target, or DataError."""
    path = PurePosixPath(name)
    if "\\" in name and not {"/", "..", ":"} & {name[:1], name[1:2], *name.replace("\\", "/").split("/")}:
        raise DataError(f"{archive} holds {name[:100]!r}, with backslashes between folders: pack it again")
    if path.is_absolute() or ".." in path.parts or not path.parts or any(c in name for c in "\\\0") or name[1:2] == ":":
        raise DataError(f"{archive} holds a file named {name[:100]!r}, which is outside of the target folder: refused")
    return path


def _tar(archive: Path) -> Iterator[_Entry]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                _inside(archive, member.name)
                continue
            if not member.isreg():
                raise DataError(f"{archive} holds {member.name[:100]!r}, which is a link or a device: refused")

            def opened(member: tarfile.TarInfo = member) -> IO[bytes]:
                file = tar.extractfile(member)
                assert file is not None, "a regular file"
                return file

            yield _Entry(member.name, member.size, opened)


def _zip(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as bundle:
        for info in bundle.infolist():
            if info.is_dir():
                _inside(archive, info.filename)
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise DataError(f"{archive} holds {info.filename[:100]!r}, which is a link: refused")

            def opened(info: zipfile.ZipInfo = info) -> IO[bytes]:
                return bundle.open(info)

            yield _Entry(_zip_name(info), info.file_size, opened)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """macOS writes UTF-8 without saying so, and zipfile then takes it for the characters of an old PC."""
    if info.flag_bits & _SAYS_UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename
