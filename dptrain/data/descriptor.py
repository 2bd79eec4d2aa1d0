"""What is known about a data set before it is read: its images, its options, its files and where they come from.

Every file of `datasets/` makes one `Descriptor` per data set. The catalog, `dptrain data`, the sizes that `experiment`
and `describe` assume, and the table in docs/reference/data.md all come from it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dptrain.data.dataset import Dataset, Part
from dptrain.errors import DataError, UsageError

_BLOCK = 1 << 20
_MOST_BYTES = 1 << 30  #: of what one .gz file unpacks to; the largest known has 47 MB
_LONGEST_SIDE = 1024  #: pixels


class Form(NamedTuple):
    """The size of a data set's images, and its number of classes."""

    height: int
    width: int
    channels: int
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c)."""
        return self.height, self.width, self.channels


class Files(NamedTuple):
    """The files of a data set that were found, and how to read them. Nothing has been read yet."""

    name: str  #: with the size or the variant, if that can be chosen
    classes: tuple[str, ...]
    folder: Path
    paths: list[Path]  #: their sizes and times tell whether the data set has changed
    decode: Callable[[], tuple[Part, Part]]  #: reads them: training and test part


class Source(NamedTuple):
    """One file to fetch. The digest is that of its content: of a single .gz the unpacked one, since headers differ."""

    file: str
    digest: str  #: "sha256:...", or "md5:..." if only that has been published
    mirrors: tuple[str, ...]  #: URLs of the folders that hold it, the best first

    @property
    def urls(self) -> tuple[str, ...]:
        """In the order in which they are tried."""
        return tuple(mirror + self.file for mirror in self.mirrors)

    def digest_of(self, path: Path) -> str:
        """The digest of another file, made as this one's `digest`. Raises DataError naming the file."""
        algorithm = self.digest.partition(":")[0]
        single = self.file.endswith(".gz") and not self.file.endswith(".tar.gz")
        h = hashlib.new(algorithm, usedforsecurity=False)
        try:
            with path.open("rb") as plain:
                packed = single and plain.read(2) == b"\x1f\x8b"
            total = 0
            with gzip.open(path) if packed else path.open("rb") as file:
                while block := file.read(_BLOCK):
                    total += len(block)
                    if packed and total > _MOST_BYTES:
                        raise DataError(f"{path} unpacks to more than {_MOST_BYTES:,} bytes: refused")
                    h.update(block)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is a damaged gzip file ({error})") from error
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        return f"{algorithm}:{h.hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """One data set. Either `load` makes it without files, or `find` finds its files below the data folder."""

    name: str
    about: str  #: what the images show
    form: Form  #: without an option
    train: int  #: images
    test: int  #: images
    terms: str = ""  #: licence, or what the publisher asks for

    # what may follow the name after a colon
    resizable: bool = False  #: NAME:HxW resizes the images
    variants: Mapping[str, int] = field(default_factory=dict)  #: NAME:VARIANT -> number of classes

    # how it is read
    load: Callable[[], Dataset] | None = None
    find: Callable[[Path, Form], Files | None] | None = None  #: data folder -> files; None: not there

    # where its files come from
    wanted: str = ""  #: what a user who has the files puts into `folder`
    folder: str = ""  #: below the data folder; "": the archives bring their own folder
    places: tuple[str, ...] = ()  #: further folders below the data folder in which it is found
    note: str = ""  #: another way to get it
    needed: tuple[Source, ...] = ()  #: what `dptrain data get` fetches
    accepted: tuple[Source, ...] = ()  #: other files that `dptrain data add` takes for it
    by_hand: str = ""  #: address at which a user gets it, if only they may
    holds: tuple[str, ...] = ()  #: paths of its files, if no digest is published; * and [0-9] as in a shell

    def form_of(self, option: str) -> Form:
        """The form with what follows the name. Raises UsageError if that is not allowed."""
        if not option:
            return self.form
        if self.resizable:
            height, width = parse_size(self.name, option, self.form.shape[:2])
            return self.form._replace(height=height, width=width)
        if option not in self.variants:
            allowed = " or ".join(f"{self.name}:{name} ({count} classes)" for name, count in self.variants.items())
            raise UsageError(
                f"data set {self.name}:{option}: "
                + (f"write {allowed}" if allowed else f"{self.name} has no option {option!r}")
            )
        return self.form._replace(classes=self.variants[option])

    def names(self) -> tuple[str, ...]:
        """The name, alone and with each kind of option."""
        others = [variant for variant, classes in self.variants.items() if classes != self.form.classes]
        return (self.name, *(f"{self.name}:{option}" for option in [*others, *["HxW"] * self.resizable]))

    def summary(self) -> str:
        """One line: how many images of what, their size, the classes, and the terms of use."""
        height, width, channels, classes = self.form
        counts = f"{self.train:,} + {self.test:,}" if self.test else f"{self.train:,}"
        others = ", ".join(f"{name}: {count}" for name, count in self.variants.items() if count != classes)
        return (
            f"{counts} {self.about}, {height}x{width}{'' if channels == 3 else ' grey'}, {classes} classes"
            f"{f' ({others})' if others else ''}{f'; {self.terms}' if self.terms else ''}"
        )

    def origin(self) -> str:
        """Where its files come from, for the table of data sets."""
        if self.load is not None:
            return "comes with dptrain"
        way = f"by hand: {self.by_hand}" if self.by_hand else f"`dptrain data get {self.name}`"
        return f"{way}{f'; {self.note}' if self.note else ''}"

    def by_hand_steps(self) -> tuple[str, ...]:
        """How to get it without `dptrain data get`: addresses with digests, and the command that takes the files."""
        if self.by_hand:
            return (f"get it from {self.by_hand}, then `dptrain data add {self.name} FILE ...`",)
        files = (f"{source.urls[0]} ({source.digest})" for source in self.needed)
        return (*files, f"by hand: copy these here and `dptrain data add {self.name} FILE ...`")

    def has(self, path: PurePosixPath) -> bool:
        """Whether this is one of the paths it `holds`."""
        wanted = (held.split("/") for held in self.holds)
        return any(len(names) == len(path.parts) and all(map(fnmatchcase, path.parts, names)) for names in wanted)


def tool_folders() -> list[Path]:
    """Where other tools leave data sets: torchvision where its examples do (./data), Keras in ~/.keras/datasets."""
    keras = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # never raises
    return [Path("data"), Path(keras) / "datasets"]


def parse_size(name: str, text: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """48x64 -> (48, 64): as many numbers as the default has, or one fewer. Raises UsageError."""
    if not text:
        return default
    if not re.fullmatch(r"[1-9][0-9]{0,3}(x[1-9][0-9]{0,3}){1,2}", text) or text.count("x") >= len(default):
        raise UsageError(f"data set {name}:{text}: what follows must be HEIGHTxWIDTH in pixels, such as {name}:48x64")
    given = tuple(int(part) for part in text.split("x"))
    if max(given[:2]) > _LONGEST_SIDE or given[2:] not in ((), (1,), (3,)):
        raise UsageError(f"data set {name}:{text}: sides go up to {_LONGEST_SIDE} pixels, channels are 1 or 3")
    return given + default[len(given) :]
