"""Brings the files of a data set to their place: fetched, or given by a person. What is read from there: catalog.py."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from dptrain.data import sources as checksum
from dptrain.data.catalog import FOLDER, path_and_size
from dptrain.data.fetch import Watcher, fetch
from dptrain.data.sources import KNOWN, Known, Source, by_hand
from dptrain.data.unpack import is_archive, sweep, unpack
from dptrain.errors import DataError, UsageError, nearest

_DOWNLOADS = "downloads"


def get(name: str, home: Path, mirrors: tuple[str, ...], watcher: Watcher) -> None:
    """Fetches and unpacks every needed file; `mirrors` are folders tried before the known ones. Raises DataError."""
    known = _known(name)
    if not known.needed:
        raise DataError(f"{name} cannot be fetched: {by_hand(name)[0]}")
    with _alone(home):
        for source in known.needed:
            urls = (*(f"{mirror.rstrip('/')}/{source.file}" for mirror in mirrors), *source.urls)
            try:
                path = fetch(source, urls, home / _DOWNLOADS, watcher)
            except DataError as error:
                error.add_note(f"by hand: fetch it elsewhere and `dptrain data add {name} {source.file}`")
                raise
            _place(path, path.name, home / known.folder)
            path.unlink()


def add(name: str, files: tuple[Path, ...], home: Path) -> None:
    """Takes over files that a person has fetched, after checking them. Raises UsageError and DataError."""
    folder, _, rest = name.partition(":")
    if folder == FOLDER:
        place, _ = path_and_size(rest)
        if not place or place.startswith(("/", "~", ".")):
            raise UsageError(f"data add {name}: write folder:NAME; the archive is unpacked into NAME below {home}")
        if not all(is_archive(path) for path in files):
            raise UsageError(f"data add {name}: only archives are taken; copy folders to {home / place} yourself")
        with _alone(home):
            for path in files:
                unpack(_there(path), home / place, strip=True)
        return
    known = _known(folder)
    named = [(path, _checked(folder, known, _there(path))) for path in files]
    with _alone(home):
        for path, as_name in named:
            _place(path, as_name, home / known.folder, _checks(folder, known, path))


def _checks(name: str, known: Known, archive: Path) -> Callable[[list[PurePosixPath]], None]:
    def check(paths: list[PurePosixPath]) -> None:
        """Of a set without digests, only names tell what belongs to it; whatever comes with them may stay."""
        if known.holds and not any(known.has(path) for path in paths):
            raise DataError(f"{archive} holds no file of {name}: {_allowed(known)}")

    return check


def _allowed(known: Known) -> str:
    return f"allowed are {', '.join(known.holds)}, by these names, or an archive of them"


def _known(name: str) -> Known:
    if name not in KNOWN:
        raise UsageError(f"no files belong to a data set {name!r}{nearest(name, KNOWN)}; there are {', '.join(KNOWN)}")
    return KNOWN[name]


def _there(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    return path


def _checked(name: str, known: Known, path: Path) -> str:
    """The name under which the file is kept. Raises DataError where the data set has digests, but not this one."""
    sources = known.needed + known.accepted
    if not sources:
        if not is_archive(path) and not known.has(PurePosixPath(path.name)):
            raise DataError(f"{path} is no file of {name}: {_allowed(known)}")
        return path.name
    for source in sources:
        if checksum.found(path, source) == source.digest:
            return _kept_as(path, source)
    wanted = next((source for source in sources if source.file == path.name), sources[0])
    raise DataError(
        f"{path} is no file of {name}: it has {checksum.found(path, wanted)}, but {wanted.file} has {wanted.digest}"
    )


def _kept_as(path: Path, source: Source) -> str:
    """The official name; without .gz where somebody has unpacked it."""
    if source.file.endswith(".tar.gz") or not source.file.endswith(".gz"):
        return source.file
    with path.open("rb") as file:
        return source.file if file.read(2) == b"\x1f\x8b" else source.file.removesuffix(".gz")


def _place(path: Path, name: str, folder: Path, check: Callable[[list[PurePosixPath]], None] | None = None) -> None:
    if is_archive(Path(name)):
        unpack(path, folder, check=check)
        return
    temporary = folder / f".{name}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, temporary)
        temporary.replace(folder / name)
    except OSError as error:
        raise DataError(f"{path} cannot be copied to {folder}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it is gone: renamed, or never made
            temporary.unlink()


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One process at a time fetches into a data home; the others wait, and find the files there."""
    try:
        (home / _DOWNLOADS).mkdir(parents=True, exist_ok=True)
        with (home / _DOWNLOADS / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for folder in (home, *home.iterdir()):
                sweep(folder)  # of one that was killed: whoever lives would hold the lock
            yield
    except OSError as error:
        raise DataError(f"{home / _DOWNLOADS} cannot be written: {error.strerror or error}") from error
