"""What every ZeroMQ socket of ours has in common: options, receiving into aligned memory. No protocol."""

from __future__ import annotations

import ctypes
import errno
import os
from math import ceil

import numpy as np
import zmq

from dptrain.cluster.codec import HEADER_BYTES, Limits

_CRYPTOGRAPHIC = 0x11000001  #: ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC
_MECHANISM = 0x11000002  #: ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH

FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


def clients_fault(event: int, value: int, key: str) -> str:
    """Why the one that connects got no further. `key`: the name of its own key, "" where it has none."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return f"the key {key} is not admitted there: look at `dptrain keys list` on the coordinator's host"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if value != _MECHANISM:
            return "the handshake failed: what listens there does not speak ZeroMQ"
        if key:
            return "the handshake failed: keys are used here (--keys), but not there"
        return "the handshake failed: keys are used there (give this process its own with --keys)"
    if value == errno.EAGAIN:
        return "the handshake failed: no answer in time; is it a dptrain coordinator, and is it not stopped?"
    if key:
        return f"the handshake was broken off: no keys are used there, or another one than {key} has for it"
    return "the handshake was broken off: keys are used there (give this process its own with --keys), or no dptrain is"


def servers_fault(event: int, value: int, *, keyed: bool) -> str:
    """Why somebody who connected here got no further; "" for one that hung up, as every health check does."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "its key is not admitted"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if value == _MECHANISM:
            return "it shows no key (--keys), here one is wanted" if keyed else "it uses a key, and none are used here"
        if value == _CRYPTOGRAPHIC:
            return "it has another public key for this process than ours: copy the new one to it"
        return "it does not speak ZeroMQ"
    return "it did not finish the handshake" if value == errno.EAGAIN else ""


HIGH_WATER = 64  #: messages; they are up to 45 MB, and libzmq's default of 1000 would take 45 GB a peer
UNREAD = 16  #: of these, of one peer, at the end that listens: a frame of 2 bytes takes 64 in libzmq, and more here
HEARTBEAT_MS = 1_000
DEAD_MS = 5_000  #: a peer that does not answer heartbeats so long is cut off; libzmq's thread answers, not Python
LOST_MS = 15_000  #: after which a connection ends that does not acknowledge what is sent to it
HANDSHAKE_MS = 3_000
UNKNOWN_BYTES = 1 << 30  #: largest frame where the network is not known yet (a worker's, from its own coordinator)
MOST_FRAMES = 4  #: of one message: header and at most two arrays, and one that is too many
FLUSH = 2.0  #: seconds for the last words at an orderly end
_ENVELOPE = 64  #: bytes that CURVE adds to a frame (33, measured: without them the largest one is refused)
_KERNEL_BUFFER = 8 << 20  #: bytes; Linux lets one connection have 6 MiB (tcp_rmem)
LINE = 64  #: bytes; NumPy's and our own vector loops treat arrays that begin elsewhere differently


def harden(socket: zmq.Socket[bytes], address: str, largest: int) -> None:
    """Options for both ends of every connection; before bind or connect. Nothing lingers unless `close` says so.

    Whoever sends a frame of more than `largest` bytes is disconnected by libzmq, before any of it reaches Python.
    """
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = HIGH_WATER
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = socket.heartbeat_ttl = DEAD_MS
    socket.handshake_ivl = HANDSHAKE_MS
    socket.maxmsgsize = largest + _ENVELOPE
    socket.ipv6 = "[" in address


def listener(context: zmq.Context[zmq.Socket[bytes]], address: str, largest: int) -> zmq.Socket[bytes]:
    """A ROUTER, hardened, not bound yet. What libzmq 4.3.5 would abort the process for cannot happen to it:

    - It names peers by a counter that begins with rand(), so at the same number in every process; who had given itself
      the next name made the connection after it abort us. The counter begins anywhere now.
    - It sends no heartbeats: where a peer that was not read fast enough hangs up, the timer for the next one aborts.
      Who connects sends them, with a limit after which its connection ends here too, if a heartbeat was the last that
      came; else tcp finds out, by asking or because what was sent is not acknowledged. Who only stops stays connected.
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


def receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """The next message; zmq.Again where there is none. More frames than any of ours has are thrown away as they come:
    a message may have millions.
    """
    frame = socket.recv(zmq.DONTWAIT, copy=False)
    frames = [frame]
    while frame.more:
        frame = socket.recv(copy=False)
        if len(frames) <= MOST_FRAMES:  # and one for the name of the peer
            frames.append(frame)
    return frames


def largest_frame(limits: Limits) -> int:
    """Bytes of the largest frame of a valid message."""
    return max(HEADER_BYTES, 4 * limits.params, 4 * limits.buffers, limits.image_bytes)


def queue_bytes(limits: Limits) -> int:
    """What one peer can have on its way to us, received by the kernel and not yet read here, and not a byte more.

    Our queue of its messages, one more that is coming in, and the kernel's buffer.
    """
    message = HEADER_BYTES + 4 * limits.params + 4 * limits.buffers + limits.image_bytes
    return (UNREAD + 1) * message + _KERNEL_BUFFER


def endpoint(socket: zmq.Socket[bytes]) -> str:
    """Where a bound socket can be reached: with the port the system chose."""
    return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")


def milliseconds(seconds: float) -> int:
    """For a ZeroMQ poller: rounded up, so that a loop does not spin through the last one."""
    return max(0, ceil(seconds * 1000))


def whole(frames: list[zmq.Frame]) -> list[bytes | memoryview]:
    """The frames of a message where libzmq has put them: header as bytes, arrays anyhow aligned, not to be written to.

    For the coordinator, who only adds them up: 1 MB copied into fresh pages takes longer than adding it.
    """
    return [frames[0].bytes, *(frame.buffer for frame in frames[1:])] if frames else []


def land(frames: list[zmq.Frame]) -> list[bytes | memoryview]:
    """As `whole`, in memory of our own, one copy: arrays writable and on 64-byte boundaries, as kernels want them."""
    header, *arrays = whole(frames) or [b""]
    return [header, *map(_aligned, arrays)]


def _aligned(buffer: bytes | memoryview) -> memoryview:
    size = len(buffer)
    raw = np.empty(size + LINE, np.uint8)
    at = -raw.ctypes.data % LINE
    out = raw[at : at + size]
    out[:] = np.frombuffer(buffer, np.uint8)
    return out.data
