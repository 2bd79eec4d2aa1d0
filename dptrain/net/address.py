"""What may stand after --bind and --connect, and what ZeroMQ is given for it. Opens nothing.

"ipc" becomes an abstract Unix socket, `ipc://@dptrain-<random>`: no file lies about after a kill -9, and a second bind
of the same name fails (a socket file would be stolen silently, measured with libzmq 4.3.5). An abstract name has no
permissions; the ROUTER admits this user's processes only (IPC_FILTER_UID, SO_PEERCRED). It lives in the network
namespace: between containers use tcp.
"""

from __future__ import annotations

import ipaddress
import re
import secrets

from dptrain.errors import UsageError

_ABSTRACT = re.compile(r"ipc://@[A-Za-z0-9._-]{1,90}")  #: the path limit is 107 characters
_REMEDY = (
    "use keys (dptrain keys new, then --keys DIRECTORY), stay on 127.0.0.1, or add --insecure (DPTRAIN_INSECURE=1) "
    "where you trust everybody on that network"
)
_TCP = re.compile(r"tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.*-]+):([0-9]{1,5})")


def abstract_name(role: str) -> str:
    """A fresh `ipc://@...` that nobody else has, and nobody can guess."""
    return f"ipc://@dptrain-{role}-{secrets.token_hex(8)}"


def bind_address(text: str, *, insecure: bool, keys: bool = False) -> str:
    """--bind as ZeroMQ wants it. UsageError for what is no address, or is open to other machines without keys.

    `insecure`: it may be.
    """
    if text == "ipc":
        return abstract_name("coordinator")
    if _ABSTRACT.fullmatch(text):
        return text
    host, port = _tcp(text, "--bind", 'allowed are "ipc", "ipc://@NAME" and "tcp://ADDRESS:PORT" (port 0: any)')
    if host == "localhost":
        host = "127.0.0.1"
    if not (keys or insecure or is_near(f"tcp://{host}:{port}")):
        raise UsageError(f"--bind {text}: other machines could reach it: {_REMEDY}")
    return f"tcp://{host}:{port}"


def connect_address(text: str, *, insecure: bool, keys: bool = False) -> str:
    """--connect as ZeroMQ wants it; UsageError for what is no address, or leads to another machine without keys.

    `insecure`: it may.
    """
    if _ABSTRACT.fullmatch(text):
        return text
    host, port = _tcp(text, "--connect", 'allowed are "tcp://HOST:PORT" and "ipc://@NAME"')
    if port == 0 or host == "*":
        raise UsageError(f"--connect {text}: a host and a port from 1 to 65535 are needed")
    if not (keys or insecure or is_near(text)):
        raise UsageError(f"--connect {text}: on the way there, others could read and change everything: {_REMEDY}")
    return f"tcp://{host}:{port}"


def _tcp(text: str, flag: str, allowed: str) -> tuple[str, int]:
    match = _TCP.fullmatch(text)
    if match is None or int(match[2]) > 65_535:
        raise UsageError(f"{flag} {text!r} is no address: {allowed}")
    return match[1], int(match[2])


def is_near(address: str) -> bool:
    """Whether an address never leaves this machine. `*` and every name but localhost count as far."""
    match = _TCP.fullmatch(address)
    if match is None:
        return address.startswith("ipc://")
    try:
        return match[1] == "localhost" or ipaddress.ip_address(match[1].strip("[]")).is_loopback
    except ValueError:
        return False


def warning_about(address: str, *, keys: bool) -> str:
    """What has to be said, loudly, at every start with --insecure; "" where there is nothing to say."""
    if keys or is_near(address):
        return ""
    return (
        f"--insecure: what goes over {address} is neither encrypted nor authenticated: whoever reaches that network "
        "can read and change this run, and take part in it; `dptrain keys new` makes keys"
    )
