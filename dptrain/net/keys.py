"""The key directory of one host: its own CURVE pair and the public keys of its peers. Opens no connection.

    NAME.key_secret   this host's pair, readable by its owner only (0600)
    *.key             public keys, one per peer: only listed peers may connect

A name is a role, or a role, a dash and a label: `coordinator`, `worker-3`, `augmenter-east`. The files are ZeroMQ
certificates, as `zmq.auth` writes and reads them. `guard` decides which keys are allowed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from zmq.auth import load_certificate

from dptrain.errors import UsageError

PUBLIC, SECRET = ".key", ".key_secret"
COORDINATOR, AUGMENTER, WORKER = ROLES = ("coordinator", "augmenter", "worker")
NAME = re.compile(rf"({'|'.join(ROLES)})(-[A-Za-z0-9][A-Za-z0-9._]{{0,39}})?")
_KEY = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  #: Z85 of 32 bytes


def role_of(name: str) -> str:
    """The role of the holder of a key; "": not a valid name."""
    match = NAME.fullmatch(name)
    return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The own keys of one process, and access to the public keys of its peers.

    Public keys are read at each use: an added or revoked key counts from the next connection on.
    """

    path: Path
    name: str
    public: bytes  #: Z85
    secret: bytes = field(repr=False)  #: Z85

    def listed(self) -> dict[bytes, str]:
        """Public key -> name of all listed keys. A damaged file lists none."""
        return {key: name for name, key in public_keys(self.path)}

    def server(self, role: str, number: int | None = None) -> bytes:
        """The public key of a server: ROLE-NUMBER.key, or ROLE.key if all servers of the role share one.

        Raises UsageError if there is none.
        """
        wanted = [f"{role}-{number}"] if number is not None else []
        known = dict(public_keys(self.path))
        for name in (*wanted, role):
            if name in known:
                return known[name]
        raise UsageError(
            f"{self.path} holds no {role}{PUBLIC}: copy it from the keys of the coordinator's host (it is public)"
        )


def open_keyring(path: str, role: str) -> Keyring | None:
    """The keys of a process of this role from a directory; None if `path` is "". Raises UsageError."""
    if not path:
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--keys {path}: no such directory; `dptrain keys new` makes one")
    _refuse_writable_by_others(folder)
    own = sorted(file for file in folder.glob(f"*{SECRET}") if role_of(_stem(file)) == role)
    if len(own) != 1:
        found = ", ".join(file.name for file in own) or f"no pair of keys of a {role}"
        raise UsageError(
            f"--keys {path}: the directory has {found}, but must have one "
            f"{role}*{SECRET}; `dptrain keys new {role}` makes KEYS/{role}"
        )
    _refuse_readable_by_others(own[0])
    public, secret = _certificate(own[0])
    if public is None or secret is None:
        raise UsageError(f"{own[0]} is damaged: it holds no pair of keys; make a new pair with `dptrain keys new`")
    return Keyring(folder, _stem(own[0]), public, secret)


def public_keys(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, Z85) of every valid public key in a directory, sorted by name."""
    for file in sorted(folder.glob(f"*{PUBLIC}")):
        public, _ = _certificate(file)
        if public is not None and role_of(_stem(file)):
            yield _stem(file), public


def _certificate(file: Path) -> tuple[bytes | None, bytes | None]:
    """Public and secret key of a file; None for each that is missing or invalid."""
    try:
        public, secret = load_certificate(file)
    except (OSError, ValueError, IndexError):  # IndexError: a line without "="
        return None, None
    return _checked(public), _checked(secret)


def _checked(key: bytes | None) -> bytes | None:
    return key if key is not None and _KEY.fullmatch(key) else None


def _stem(file: Path) -> str:
    return file.name.removesuffix(SECRET).removesuffix(PUBLIC)


def _refuse_readable_by_others(file: Path) -> None:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise UsageError(f"{file} is open to others ({mode:04o}): chmod 600 {file}, or better, make a new key")


def _refuse_writable_by_others(folder: Path) -> None:
    """A user who can write there can add a key of his own."""
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o022:
        raise UsageError(
            f"{folder} can be written by others ({mode:04o}): chmod 700 {folder}, and check every listed key"
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise UsageError(f"{folder} belongs to another user (uid {found.st_uid}): use a directory of your own")
