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
_TCP = re.compile(r"tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.*-]+):([0-9]{1,5})")


def abstract_name(role: str) -> str:
    """A fresh `ipc://@...` that nobody else has, and nobody can guess."""
    return f"ipc://@dptrain-{role}-{secrets.token_hex(8)}"


def bind_address(text: str, *, insecure: bool) -> str:
    """--bind as ZeroMQ wants it. UsageError for what is no address, or is open to other machines without `insecure`."""
    if text == "ipc":
        return abstract_name("coordinator")
    if _ABSTRACT.fullmatch(text):
        return text
    host, port = _tcp(text, "--bind", 'allowed are "ipc", "ipc://@NAME" and "tcp://ADDRESS:PORT" (port 0: any)')
    if host == "localhost":
        host = "127.0.0.1"
    if not insecure and not _is_loopback(host):
        raise UsageError(
            f"--bind {text}: other machines could reach it, and connections are neither encrypted nor authenticated: "
            "bind to 127.0.0.1, or add --insecure (DPTRAIN_INSECURE=1) where you trust everybody on that network"
        )
    return f"tcp://{host}:{port}"


def connect_address(text: str) -> str:
    """--connect as ZeroMQ wants it; UsageError for what is no address."""
    if _ABSTRACT.fullmatch(text):
        return text
    host, port = _tcp(text, "--connect", 'allowed are "tcp://HOST:PORT" and "ipc://@NAME"')
    if port == 0 or host == "*":
        raise UsageError(f"--connect {text}: a host and a port from 1 to 65535 are needed")
    return f"tcp://{host}:{port}"


def _tcp(text: str, flag: str, allowed: str) -> tuple[str, int]:
    match = _TCP.fullmatch(text)
    if match is None or int(match[2]) > 65_535:
        raise UsageError(f"{flag} {text!r} is no address: {allowed}")
    return match[1], int(match[2])


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. `*` and every name but localhost count as open."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
