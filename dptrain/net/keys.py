"""The key directory of one host: its own CURVE pair and the public keys of those it may meet. Opens no connection.

    NAME.key_secret   this host's pair, for its owner alone (0600)
    *.key             public keys, one a peer: whoever is listed here is admitted, whoever is not is not

A name is a role, or a role, a dash and anything: `coordinator`, `worker-3`, `augmenter-east`. The files are ZeroMQ
certificates, as `zmq.auth` writes and reads them; what is allowed is decided in `zap`.
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
    """What the holder of a key may be; "" for what is no name."""
    match = NAME.fullmatch(name)
    return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class Keyring:
    """What one process needs to prove who it is and to know whom it meets.

    Public keys are read when they are asked for: one that is added or revoked counts at the next connection.
    """

    path: Path
    name: str
    public: bytes  #: Z85
    secret: bytes = field(repr=False)  #: Z85

    def listed(self) -> dict[bytes, str]:
        """Public key -> name, of all that are listed now. A file that is damaged lists nobody."""
        return {key: name for name, key in public_keys(self.path)}

    def server(self, role: str, number: int | None = None) -> bytes:
        """The public key of the one that listens: ROLE-NUMBER.key, or ROLE.key where all have the same.

        Raises UsageError where there is none.
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
    """The keys of a process of this role in the directory; None where `path` is "". Raises UsageError, in one line."""
    if not path:
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--keys {path}: no such directory; `dptrain keys new` makes one")
    _refuse_writable_by_others(folder)
    own = sorted(file for file in folder.glob(f"*{SECRET}") if role_of(_stem(file)) == role)
    if len(own) != 1:
        found = ", ".join(_stem(file) for file in own) or "none"
        raise UsageError(
            f"--keys {path}: {found} of a {role}; wanted is the directory of one {role}, with one "
            f"{role}*{SECRET}: `dptrain keys new {role}` makes KEYS/{role}"
        )
    _refuse_readable_by_others(own[0])
    public, secret = _certificate(own[0])
    if public is None or secret is None:
        raise UsageError(f"{own[0]} is damaged: it holds no pair of keys; make a new one with `dptrain keys new`")
    return Keyring(folder, _stem(own[0]), public, secret)


def public_keys(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, Z85) of every valid public key of a directory, by name."""
    for file in sorted(folder.glob(f"*{PUBLIC}")):
        public, _ = _certificate(file)
        if public is not None and role_of(_stem(file)):
            yield _stem(file), public


def _certificate(file: Path) -> tuple[bytes | None, bytes | None]:
    """The two keys of a file, None for each that is missing or is no key."""
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
        raise UsageError(f"{file} is open to others ({mode:04o}): chmod 600 {file}, or better make a new key")


def _refuse_writable_by_others(folder: Path) -> None:
    """Who can write there can admit himself."""
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o022:
        raise UsageError(
            f"{folder} can be written by others ({mode:04o}): chmod 700 {folder}; is somebody listed who should not be?"
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise UsageError(f"{folder} belongs to another user (uid {found.st_uid}): use a directory of your own")
