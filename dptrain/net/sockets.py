"""What all ZeroMQ sockets of dptrain have in common: options, keys, limits, and the reasons of failures."""

from __future__ import annotations

import ctypes
import errno
import os
from math import ceil

import zmq

from dptrain.cluster.codec import HEADER_BYTES, Limits
from dptrain.net.keys import Keyring

_CRYPTOGRAPHIC = 0x11000001  #: ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC
_MECHANISM = 0x11000002  #: ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH

FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


def clients_fault(event: int, value: int, key: str) -> str:
    """Why this end of a new connection failed. `key`: the name of its own key; "": none."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return f"the key {key} is not allowed there: see `dptrain keys list` on the coordinator's host"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if value != _MECHANISM:
            return "the handshake failed: the process that listens there does not speak ZeroMQ"
        if key:
            return "the handshake failed: keys are used here (--keys), but not there"
        return "the handshake failed: keys are used there (give this process its own with --keys)"
    if value == errno.EAGAIN:
        return "the handshake failed: no answer in time; is it a dptrain coordinator, and is it not stopped?"
    if key:
        return f"the handshake was broken off: no keys are used there, or another one than {key} has for it"
    return "the handshake was broken off: keys are used there (give this process its own with --keys), or no dptrain is"


def servers_fault(event: int, value: int, *, keyed: bool) -> str:
    """Why a peer that connected here failed; "" if it only closed the connection, as every health check does."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "its key is not allowed"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if value == _MECHANISM:
            return (
                "it shows no key (--keys), but one is needed here" if keyed else "it uses a key, but none are used here"
            )
        if value == _CRYPTOGRAPHIC:
            return "it has an old public key of this process: copy the new one to it"
        return "it does not speak ZeroMQ"
    return "it did not finish the handshake" if value == errno.EAGAIN else ""


HIGH_WATER = 64  #: messages; one has up to 45 MB, and libzmq's default of 1000 would take 45 GB per peer
UNREAD = 16  #: messages of one peer, at the end that listens: a frame of 2 bytes takes 64 in libzmq, and more here
HEARTBEAT_MS = 1_000
DEAD_MS = 5_000  #: a peer that answers no heartbeat for so long is cut off; libzmq's thread answers, not Python
LOST_MS = 15_000  #: a connection ends that does not acknowledge sent data for so long
HANDSHAKE_MS = 3_000
UNKNOWN_BYTES = 1 << 30  #: largest frame from its own coordinator while a worker does not know the network yet
FLUSH = 2.0  #: seconds for the last messages at an orderly end
_ENVELOPE = 64  #: bytes; CURVE adds 33 to a frame (measured: without this room the largest frame is refused)
_KERNEL_BUFFER = 8 << 20  #: bytes; Linux lets one connection have 6 MiB (tcp_rmem)


def harden(socket: zmq.Socket[bytes], address: str, largest: int) -> None:
    """Sets the options of both ends of every connection, before bind or connect. `close` alone decides about lingering.

    libzmq disconnects a peer that sends a frame of more than `largest` bytes, before any of it reaches Python.
    """
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = HIGH_WATER
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = socket.heartbeat_ttl = DEAD_MS
    socket.handshake_ivl = HANDSHAKE_MS
    socket.maxmsgsize = largest + _ENVELOPE
    socket.ipv6 = "[" in address


def join(socket: zmq.Socket[bytes], address: str, keys: Keyring | None, role: str, number: int | None = None) -> str:
    """Sets the keys of a tcp connection to a server of this role: it is encrypted, and the server is authenticated.

    Returns the name of the own key, "" without one. Raises UsageError if the server's public key is missing.
    """
    if keys is None or not address.startswith("tcp://"):
        return ""
    socket.curve_serverkey = keys.server(role, number)
    socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
    return keys.name


def listener(context: zmq.Context[zmq.Socket[bytes]], address: str, largest: int) -> zmq.Socket[bytes]:
    """A hardened ROUTER, not bound yet. It avoids two ways in which libzmq 4.3.5 aborts the process:

    - libzmq names peers by a counter that starts with rand(), so at the same number in every process: a peer that gave
      itself the next name made the next connection abort us. With srand() the counter starts at a random number.
    - A listener with heartbeats aborts when a peer that was not read fast enough disconnects before the next one. So
      only the connecting end sends heartbeats, with a time limit that also ends the connection here if a heartbeat was
      the last thing that arrived. Otherwise tcp finds a lost peer, by keepalive or because sent data is not
      acknowledged. A peer that is only paused stays connected.
    """
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))
    socket = context.socket(zmq.ROUTER)
    harden(socket, address, largest)
    socket.rcvhwm = UNREAD
    socket.heartbeat_ivl = 0
    socket.tcp_keepalive, socket.tcp_keepalive_idle = 1, 30
    socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = 10, 3
    socket.tcp_maxrt = LOST_MS
    return socket


def largest_frame(limits: Limits) -> int:
    """Bytes of the largest frame of a valid message."""
    return max(HEADER_BYTES, 4 * limits.params, 4 * limits.buffers, limits.image_bytes)


def queue_bytes(limits: Limits) -> int:
    """The most bytes of one peer that the kernel has received and this process has not read.

    That is the queue of its messages, one more that is arriving, and the kernel's buffer.
    """
    message = HEADER_BYTES + 4 * limits.params + 4 * limits.buffers + limits.image_bytes
    return (UNREAD + 1) * message + _KERNEL_BUFFER


def endpoint(socket: zmq.Socket[bytes]) -> str:
    """The address of a bound socket, with the port the system chose."""
    return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")


def milliseconds(seconds: float) -> int:
    """For a ZeroMQ poller. Rounded up, so that a loop does not spin through the last millisecond."""
    return max(0, ceil(seconds * 1000))
