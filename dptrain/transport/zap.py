"""Who is let in: the answer to a ZeroMQ authentication request (ZAP, RFC 27). A pure function; `guard` carries it.

libzmq asks once a connection, after it has checked that the peer holds the secret half of the key it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from zmq.utils import z85

from dptrain.transport.keys import role_of

VERSION = b"1.0"
_RAW = 32  #: bytes of a public key


class Verdict(NamedTuple):
    """On one request."""

    name: str  #: of the key that is let in; "": nobody
    reason: str  #: why not, for people; "" where it is let in
    address: str  #: of the peer

    def reply(self, request: Sequence[bytes]) -> list[bytes]:
        """The frames of the answer. A peer that is refused learns nothing but that."""
        number = request[1] if len(request) > 1 else b""
        if not self.name:
            return [VERSION, number, b"400", b"not admitted", b"", b""]
        return [VERSION, number, b"200", b"", self.name.encode(), b""]


def judge(request: Sequence[bytes], listed: Callable[[], Mapping[bytes, str]], roles: Collection[str]) -> Verdict:
    """Lets in whoever shows a key that is listed now, under a name of one of these roles. What is odd is refused."""
    if len(request) < 6 or request[0] != VERSION:
        return Verdict("", "a request that is no ZAP 1.0", "")
    address = request[3].decode(errors="replace")
    if request[5] != b"CURVE" or len(request) != 7 or len(request[6]) != _RAW:
        return Verdict("", "it shows no CURVE key", address)
    key = z85.encode(request[6])
    name = listed().get(key)
    if name is None:
        return Verdict("", f"its key {key.decode()} is not listed", address)
    if role_of(name) not in roles:
        return Verdict("", f"its key is {name}'s, which has no business here", address)
    return Verdict(name, "", address)
