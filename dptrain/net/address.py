"""Addresses after --bind and --connect: which are allowed, and what ZeroMQ gets for them. Opens no socket.

"ipc" becomes an abstract Unix socket, `ipc://@dptrain-<random>`: no file is left behind after a kill -9, and a second
bind of the same name fails (a socket file would be replaced silently, measured with libzmq 4.3.5). An abstract name has
no permissions; the ROUTER allows only processes of this user (IPC_FILTER_UID, SO_PEERCRED). It belongs to the network
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
    "if you trust all users of that network"
)
_TCP = re.compile(r"tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.*-]+):([0-9]{1,5})")


def abstract_name(role: str) -> str:
    """A new, unguessable `ipc://@...`."""
    return f"ipc://@dptrain-{role}-{secrets.token_hex(8)}"


def bind_address(text: str, *, insecure: bool, keys: bool = False) -> str:
    """--bind as ZeroMQ needs it. `insecure`: other machines may reach it without keys.

    Raises UsageError for what is not an address, or could be reached by other machines without keys.
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
    """--connect as ZeroMQ needs it. `insecure`: it may lead to another machine without keys.

    Raises UsageError for what is not an address, or leads to another machine without keys.
    """
    if _ABSTRACT.fullmatch(text):
        return text
    host, port = _tcp(text, "--connect", 'allowed are "tcp://HOST:PORT" and "ipc://@NAME"')
    if port == 0 or host == "*":
        raise UsageError(f"--connect {text}: a host and a port from 1 to 65535 are needed")
    if not (keys or insecure or is_near(text)):
        raise UsageError(f"--connect {text}: others could read and change the traffic on the way: {_REMEDY}")
    return f"tcp://{host}:{port}"


def _tcp(text: str, flag: str, allowed: str) -> tuple[str, int]:
    match = _TCP.fullmatch(text)
    if match is None or int(match[2]) > 65_535:
        raise UsageError(f"{flag} {text!r} is not an address: {allowed}")
    return match[1], int(match[2])


def is_near(address: str) -> bool:
    """Whether traffic to an address stays on this machine. `*` and every name except localhost do not count."""
    match = _TCP.fullmatch(address)
    if match is None:
        return address.startswith("ipc://")
    try:
        return match[1] == "localhost" or ipaddress.ip_address(match[1].strip("[]")).is_loopback
    except ValueError:
        return False


def warning_about(address: str, *, keys: bool) -> str:
    """The warning at every start with --insecure; "" if the address is safe."""
    if keys or is_near(address):
        return ""
    return (
        f"--insecure: traffic over {address} is neither encrypted nor authenticated: every user of that network can "
        "read and change this run, and take part in it; `dptrain keys new` makes keys"
    )
