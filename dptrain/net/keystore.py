"""All key directories of a cluster, side by side: KEYS/NAME goes to the host of NAME. Makes, lists and revokes keys.

A server lists the peers that may connect to it: the coordinator lists all workers and augmenters, an augmenter lists
all workers. Every host gets the public keys of the servers that it connects to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from zmq.auth import create_certificates

from dptrain.errors import UsageError
from dptrain.net.keys import AUGMENTER, COORDINATOR, NAME, PUBLIC, SECRET, WORKER, public_keys, role_of

#: Role -> roles whose public keys it gets: the peers it allows, and the servers it connects to.
MEETS = {
    COORDINATOR: {WORKER, AUGMENTER},
    AUGMENTER: {WORKER, COORDINATOR},
    WORKER: {COORDINATOR, AUGMENTER},
}


class Listed(NamedTuple):
    """One key of the cluster."""

    name: str
    public: bytes  #: Z85
    has_secret: bool  #: its pair is still in the store; once it is copied to its host it need not be
    known_to: tuple[str, ...]  #: names whose directories list the key


def new(store: Path, name: str) -> Path:
    """Makes KEYS/NAME with a new pair, and copies its public key to the directories of its peers.

    KEYS/NAME may exist if it is empty: in a container it is a volume. Raises UsageError and leaves nothing new.
    """
    role = role_of(name)
    if not role:
        raise UsageError(f"key name {name!r}: must be {NAME.pattern}, such as coordinator, worker-1, augmenter")
    if role == COORDINATOR and name != COORDINATOR:
        raise UsageError(f"key name {name!r}: a store of keys has one coordinator, called {COORDINATOR}")
    home = store / name
    if name in {listed.name for listed in all_keys(store)} or (home.exists() and any(home.iterdir())):
        raise UsageError(f"{home}: a key of this name exists; revoke it first (dptrain keys revoke {name})")
    others = [folder for folder in _folders(store) if role_of(folder.name) in MEETS[role]]
    with _private():
        try:
            _fill(home, others)
        except OSError as error:
            raise UsageError(f"{home} cannot be made: {error.strerror}: {error.filename}") from error
    return home


def _fill(home: Path, others: list[Path]) -> None:
    """Fills the new directory, its public key last: until then it does not count. Then copies it to the others."""
    name, temporary = home.name, home / ".new"
    temporary.mkdir(parents=True)
    home.chmod(0o700)
    try:
        create_certificates(temporary, name)
        for other in others:
            shutil.copy(other / f"{other.name}{PUBLIC}", home)
        for suffix in (SECRET, PUBLIC):
            (temporary / f"{name}{suffix}").rename(home / f"{name}{suffix}")
        temporary.rmdir()
    except OSError:
        _empty(home)
        raise
    for other in others:
        _copy_whole(home / f"{name}{PUBLIC}", other)


def _copy_whole(file: Path, folder: Path) -> None:
    """Copies so that a server that reads the directory never finds half a file."""
    temporary = folder / f".{file.name}.tmp"
    shutil.copy(file, temporary)
    temporary.rename(folder / file.name)


def all_keys(store: Path) -> list[Listed]:
    """All keys that are stored or listed below the store, sorted by name."""
    known: dict[str, tuple[bytes, set[str]]] = {}
    folders = list(_folders(store))
    for folder in folders:
        for name, public in public_keys(folder):
            known.setdefault(name, (public, set()))[1].add(folder.name)
    return [
        Listed(name, public, (store / name / f"{name}{SECRET}").exists(), tuple(sorted(places - {name})))
        for name, (public, places) in sorted(known.items())
    ]


def revoke(store: Path, name: str) -> tuple[str, ...]:
    """Removes the key from every list below the store, and its pair. Returns the names whose lists had it."""
    found = next((listed for listed in all_keys(store) if listed.name == name), None)
    if found is None:
        raise UsageError(f"{store} knows no key {name!r}; `dptrain keys list` shows those it knows")
    try:
        for place in found.known_to:
            (store / place / f"{name}{PUBLIC}").unlink()
        _empty(store / name)
    except OSError as error:
        raise UsageError(f"{name} is not fully revoked: {error.strerror}: {error.filename}") from error
    return found.known_to


def _empty(home: Path) -> None:
    """Removes a directory, or only its content if it is the mount point of a volume."""
    if not home.is_dir():
        return
    for inside in home.iterdir():
        shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
    with suppress(OSError):
        home.rmdir()


def _folders(store: Path) -> Iterator[Path]:
    if store.is_dir():
        yield from (folder for folder in sorted(store.iterdir()) if role_of(folder.name) and _whole(folder))


def _whole(folder: Path) -> bool:
    return (folder / f"{folder.name}{PUBLIC}").is_file()


@contextmanager
def _private() -> Iterator[None]:
    """Files made inside the block are readable by their owner only, from the first moment on."""
    old = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(old)
