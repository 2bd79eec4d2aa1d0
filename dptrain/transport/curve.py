"""Puts a client's keys on a socket that is about to connect. (A server's are the business of its `Guard`.)"""

from __future__ import annotations

import zmq

from dptrain.transport.keys import Keyring


def join(socket: zmq.Socket[bytes], address: str, keys: Keyring | None, role: str, number: int | None = None) -> str:
    """Encrypts what goes to a server of this role, and lets nobody else pose as it. Only tcp needs it.

    Gives the name of our key, "" where none is used. Raises UsageError where the server's public key is missing.
    """
    if keys is None or not address.startswith("tcp://"):
        return ""
    socket.curve_serverkey = keys.server(role, number)
    socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
    return keys.name
