"""Puts the files of a data set into the data folder: fetched (`data get`), or given by the user (`data add`)."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from dptrain.data.datasets import DATASETS
from dptrain.data.descriptor import Descriptor, Source
from dptrain.data.fetch import Watcher, fetch
from dptrain.data.folder import FOLDER, path_and_size
from dptrain.data.unpack import is_archive, sweep, unpack
from dptrain.errors import DataError, UsageError, nearest

_DOWNLOADS = "downloads"


def get(name: str, home: Path, mirrors: tuple[str, ...], watcher: Watcher) -> None:
    """Fetches and unpacks every needed file; `mirrors`: URLs tried before the known ones. Raises DataError."""
    known = _known(name)
    if not known.needed:
        raise DataError(f"{name} cannot be fetched: {known.by_hand_steps()[0]}")
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
    """Checks files that the user has fetched, and copies or unpacks them. Raises UsageError and DataError."""
    folder, _, rest = name.partition(":")
    if folder == FOLDER:
        place, *_ = path_and_size(rest)
        if not place or place.startswith(("/", "~", ".")):
            raise UsageError(f"data add {name}: write folder:NAME; the archive is unpacked into NAME below {home}")
        if whole := [path for path in files if path.is_dir()]:
            raise UsageError(
                f"data add {name}: {whole[0]} is a folder, and only archives are taken: use it where it is, as "
                f"--dataset {FOLDER}:{whole[0].absolute()}, or copy it to {home / place}"
            )
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


def _checks(name: str, known: Descriptor, archive: Path) -> Callable[[list[PurePosixPath]], None]:
    def check(paths: list[PurePosixPath]) -> None:
        """Without digests, names decide: one known file is enough, and what else the archive holds is kept."""
        if known.holds and not any(known.has(path) for path in paths):
            raise DataError(f"{archive} holds no file of {name}: {_allowed(known)}")

    return check


def _allowed(known: Descriptor) -> str:
    return f"allowed are {', '.join(known.holds)}, by these names, or an archive of them"


def _known(name: str) -> Descriptor:
    known = {name: dataset for name, dataset in DATASETS.items() if dataset.find is not None}
    if name not in known:
        raise UsageError(
            f"no files belong to a data set {name!r}{nearest(name, known) or '.'} There are {', '.join(known)}"
        )
    return known[name]


def _there(path: Path) -> Path:
    if path.is_dir():
        raise DataError(f"{path} is a folder: give its files, or name the folder above it with --data-dir")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    return path


def _checked(name: str, known: Descriptor, path: Path) -> str:
    """The name under which the file is kept. Raises DataError for a file that is not one of the data set."""
    sources = known.needed + known.accepted
    if not sources:
        if not is_archive(path) and not known.has(PurePosixPath(path.name)):
            raise DataError(f"{path} is no file of {name}: {_allowed(known)}")
        return path.name
    for source in sources:
        if source.digest_of(path) == source.digest:
            return _kept_as(path, source)
    wanted = next((source for source in sources if source.file == path.name), sources[0])
    raise DataError(
        f"{path} is no file of {name}: it has {wanted.digest_of(path)}, but {wanted.file} has {wanted.digest}"
    )


def _kept_as(path: Path, source: Source) -> str:
    """The official name; without .gz if the file is unpacked."""
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
        with suppress(OSError):  # renamed, or never made
            temporary.unlink()


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One process at a time fetches into a data folder; the others wait, and then find the files there."""
    try:
        (home / _DOWNLOADS).mkdir(parents=True, exist_ok=True)
        with (home / _DOWNLOADS / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for folder in (home, *home.iterdir()):
                sweep(folder)  # left by a killed process: a living one would hold the lock
            yield
    except OSError as error:
        raise DataError(f"{home / _DOWNLOADS} cannot be written: {error.strerror or error}") from error
