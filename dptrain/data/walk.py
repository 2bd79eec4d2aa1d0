"""The one walk over folders of pictures: which files are used, and which are left out, and why.

`train`, `predict`, `data add` and `data preview` all use it. A file is a picture by its suffix or by its content; links
are followed, folders are searched to any depth. What is left out is counted and named, never dropped silently.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from dptrain.data.imagefile import FORMATS, SUFFIXES, kind_of
from dptrain.errors import DataError

#: Folders and files that programs leave beside pictures.
_LITTER = frozenset(("__macosx", "@eadir", "lost+found", "thumbs.db", "desktop.ini", "$recycle.bin"))
LITTER, RUNS = "hidden, or made by a program", "run directories"  #: reasons


@dataclass(frozen=True, slots=True)
class Walk:
    """What one or several folders hold. Paths are in order of names."""

    pictures: list[Path] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)  #: file or folder, and the reason

    def summary(self, root: Path, ending: str = "") -> str:
        """One line that counts what is left out, by reason, and names the first of each; "" if nothing is."""
        reasons: dict[str, list[Path]] = {}
        for path, reason in self.left_out:
            reasons.setdefault(reason, []).append(path)
        if not reasons:
            return ""
        parts = (f"{len(paths)} {reason} (first: {_shown(paths[0], root)})" for reason, paths in reasons.items())
        return f"{root}: {len(self.pictures):,} pictures are used; left out: {'; '.join(parts)}{ending}"


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left by a program."""
    return name.startswith(".") or name.lower() in _LITTER


def walk(root: Path) -> Walk:
    """Everything below a folder. Raises DataError where a folder cannot be read."""
    found = Walk()
    try:
        above = [place.stat() for place in root.resolve().parents]
    except OSError as error:
        raise unreadable(root, error) from error
    _look(root, found, tuple((stat.st_dev, stat.st_ino) for stat in above))
    return _sorted(found)


def folders_in(root: Path) -> list[Path]:
    """The folders directly in this one that may be classes, in order of names. Raises DataError."""
    return sorted(Path(entry.path) for entry in _entries(root) if _is_dir(entry) and not _no_class(entry))


def entries_in(root: Path) -> Walk:
    """What lies directly in a folder, without the folders that may be classes. Raises DataError."""
    found = Walk()
    for entry in _entries(root):
        if not _is_dir(entry):
            _take(entry, found)
        elif reason := _no_class(entry):
            found.left_out.append((Path(entry.path), reason))
    return _sorted(found)


def _no_class(folder: os.DirEntry[str]) -> str:
    """Why a folder is left out with all that is in it; "" if it is not. The pictures of a run are drawings of it."""
    if is_litter(folder.name):
        return LITTER
    return RUNS if all((Path(folder.path) / name).is_file() for name in ("config.toml", "run.json")) else ""


def _sorted(found: Walk) -> Walk:
    return Walk(sorted(found.pictures), sorted(found.left_out))


def _look(folder: Path, found: Walk, above: tuple[tuple[int, int], ...]) -> None:
    try:
        stat = folder.stat()
    except OSError as error:
        raise unreadable(folder, error) from error
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        found.left_out.append((folder, "links to a folder above"))
        return
    for entry in _entries(folder):
        if not _is_dir(entry):
            _take(entry, found)
        elif reason := _no_class(entry):
            found.left_out.append((Path(entry.path), reason))
        else:
            _look(Path(entry.path), found, (*above, here))


def _take(entry: os.DirEntry[str], found: Walk) -> None:
    path = Path(entry.path)
    if is_litter(entry.name):
        found.left_out.append((path, LITTER))
    elif path.suffix.lower() in SUFFIXES:
        found.pictures.append(path)  # if it is no image, or a link to nothing, reading it says so
    elif reason := _no_picture(path):
        found.left_out.append((path, reason))
    else:
        found.pictures.append(path)


def _no_picture(path: Path) -> str:
    """Why a file without the suffix of a picture is left out; "" if its content is that of a picture."""
    if not path.is_file():
        return "no files, or links to nothing"
    kind = kind_of(path)
    if kind not in FORMATS:
        return f"{kind} files, which are not read" if kind else "no pictures"
    if kind == "TIFF" and path.suffix:
        return "camera files, which are not read"  # raw formats are TIFF inside; what can be read is a small preview
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=(kind,)).close()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "no pictures"
    return ""


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise unreadable(folder, error) from error


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for a folder that cannot be read."""
    return DataError(f"{path} cannot be read: {error.strerror}")


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
