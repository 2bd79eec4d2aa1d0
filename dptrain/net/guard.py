"""The guard of a listening tcp socket: lets listed keys in, cuts off what is too much or too silent, and logs it.

It is a thread, because the main thread may be compiling or computing, and neither a worker nor a stranger may have to
wait for that. It reads libzmq's monitor events about connections, and answers libzmq's questions about keys (ZAP). It
cuts off a connection by shutting down its file descriptor: libzmq has no other way for one connection of a ROUTER.
"""

from __future__ import annotations

import logging
import os
import socket as posix
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from dptrain.net.connections import Connections, Cut
from dptrain.net.keys import Keyring, role_of
from dptrain.net.sockets import FAILED, servers_fault
from dptrain.net.wakeup import Wakeup

VERSION = b"1.0"
_RAW = 32  #: bytes of a public key


class ZapVerdict(NamedTuple):
    """The answer to one request."""

    name: str  #: of the allowed key; "": refused
    reason: str  #: of a refusal, for the log; "": allowed
    address: str  #: of the peer

    def reply(self, request: Sequence[bytes]) -> list[bytes]:
        """The frames of the answer. A refused peer gets no reason."""
        number = request[1] if len(request) > 1 else b""
        if not self.name:
            return [VERSION, number, b"400", b"not allowed", b"", b""]
        return [VERSION, number, b"200", b"", self.name.encode(), b""]


def judge(request: Sequence[bytes], listed: Callable[[], Mapping[bytes, str]], roles: Collection[str]) -> ZapVerdict:
    """Allows a key that is listed now under a name with one of these roles. Refuses everything else."""
    if len(request) < 6 or request[0] != VERSION:
        return ZapVerdict("", "a request that is not ZAP 1.0", "")
    address = request[3].decode(errors="replace")
    if request[5] != b"CURVE" or len(request) != 7 or len(request[6]) != _RAW:
        return ZapVerdict("", "it shows no CURVE key", address)
    key = z85.encode(request[6])
    name = listed().get(key)
    if name is None:
        return ZapVerdict("", f"its key {key.decode()} is not listed", address)
    if role_of(name) not in roles:
        return ZapVerdict("", f"its key is {name}'s, which is not allowed here", address)
    return ZapVerdict(name, "", address)


ZAP = "inproc://zeromq.zap.01"
SILENT = 60.0  #: seconds in which the same warning about the same address is not repeated
REMEMBERED = 256  #: warnings; a peer with many addresses must fill neither the memory nor the log
_LOOK = 250  #: milliseconds between looks at deadlines and bytes
_BYTES_RECEIVED, _TCP_INFO_BYTES = 128, 136  #: tcpi_bytes_received of struct tcp_info (linux/tcp.h, since 4.1)
_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | FAILED
log = logging.getLogger("dptrain.guard")


class Guard:
    """Guards one ROUTER. Made before the ROUTER is bound, closed before it. Without keys, every peer is allowed."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        socket: zmq.Socket[bytes],
        keys: Keyring | None,
        roles: Collection[str],
        most_bytes: int,
    ) -> None:
        """`roles`: those that may connect. `most_bytes`: see `Connections`."""
        self._socket, self._keys, self._roles = socket, keys, roles
        self._connections = Connections(most_bytes)
        self._lock = threading.Lock()
        self._complaints: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._fault = ""  #: of the handshake that failed last, until the end of its connection is reported
        self._stop = Wakeup()
        self._zap: zmq.Socket[bytes] | None = None
        if keys is not None:
            self._zap = context.socket(zmq.REP)
            self._zap.linger = 0
            self._zap.bind(ZAP)
            socket.curve_server = True
            socket.curve_secretkey, socket.curve_publickey = keys.secret, keys.public
            socket.zap_domain = b"dptrain"
        self._monitor = socket.get_monitor_socket(_WATCHED)
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
        self._thread.start()

    # --- called by the owner of the socket

    def heard(self, frame: zmq.Frame) -> None:
        """Call it for every valid message, with one of its frames."""
        fd = _source(frame)
        with self._lock:
            self._connections.heard(fd, _received(fd))

    def reading(self) -> None:
        """Call it before each poll. From the first call on, a new connection must soon send a message."""
        assert self._thread.is_alive(), "the guard has ended, and no peer could connect any more"
        with self._lock:
            self._connections.reading(time.monotonic())

    def cut(self, frame: zmq.Frame, *, first: bool) -> None:
        """Ends the connection this frame came over. `first`: nothing invalid had come over it before."""
        fd = _source(frame)
        with self._lock:
            cut = self._connections.condemn(fd, first=first)
        if cut is not None:
            _shut_down(cut.fd, cut.address)

    def close(self) -> None:
        """Blocks until the thread has ended. The socket stays open."""
        self._stop.set()
        self._thread.join()
        self._stop.close()
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        if self._zap is not None:
            self._zap.close(linger=0)

    # --- the thread

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._stop.fileno(), zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        if self._zap is not None:
            poller.register(self._zap, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(_LOOK))
            if self._stop.fileno() in ready:
                return
            if self._zap is not None and self._zap in ready:
                self._answer(self._zap)
            with self._lock:
                early = self._connections.early()
            self._watch()
            with self._lock:
                self._connections.settle(early)
                cuts = [*self._connections.overdue(time.monotonic()), *self._connections.swollen(_received)]
                for cut in cuts:
                    self._cut_off(cut)

    def _answer(self, zap: zmq.Socket[bytes]) -> None:
        assert self._keys is not None
        request = zap.recv_multipart()
        verdict = judge(request, self._keys.listed, self._roles)
        zap.send_multipart(verdict.reply(request))
        if not verdict.name:
            self._complain(verdict.address, f"{verdict.reason}; the allowed ones are in {self._keys.path}")

    def _watch(self) -> None:
        """Handles all waiting events. A failed handshake and the end of its connection give one warning together."""
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())
            kind, value = event["event"], event["value"]
            with self._lock:
                if kind == zmq.EVENT_ACCEPTED:
                    self._accepted(value)
                elif kind == zmq.EVENT_DISCONNECTED:
                    address = self._connections.address(value)
                    self._connections.closed(value)
                    if self._fault:
                        self._complain(address, self._fault)
                    self._fault = ""
                elif kind != zmq.EVENT_HANDSHAKE_FAILED_AUTH:  # `_answer` has logged more about it
                    self._fault = servers_fault(kind, value, keyed=self._keys is not None)

    def _accepted(self, fd: int) -> None:
        """The Unix sockets of our children do not count, nor do connections that have ended already."""
        address = _address(fd)
        cut = self._connections.accepted(fd, address, time.monotonic()) if address else None
        if cut is not None:
            self._cut_off(cut)

    def _cut_off(self, cut: Cut) -> None:
        _shut_down(cut.fd, cut.address)
        self._complain(cut.address, cut.reason)

    def _complain(self, address: str, reason: str) -> None:
        now = time.monotonic()
        key = address, reason
        same = [key] if address else [known for known in self._complaints if known[1] == reason]
        if any(now - self._complaints.get(known, -SILENT) < SILENT for known in same):
            return
        self._complaints[key] = now
        self._complaints.move_to_end(key)
        if len(self._complaints) > REMEMBERED:
            self._complaints.popitem(last=False)
        log.warning("a connection from %s was refused: %s", address or "an unknown address", reason)


def _source(frame: zmq.Frame) -> int:
    """The descriptor of the connection a frame came over; -1 where libzmq does not know it: from a ZMTP 1.0 peer."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def _received(fd: int) -> int:
    """Bytes received over a tcp connection since it began; 0: it has ended."""
    with suppress(OSError), _own(fd) as connection:
        info = connection.getsockopt(posix.IPPROTO_TCP, posix.TCP_INFO, _TCP_INFO_BYTES)
        if len(info) == _TCP_INFO_BYTES:
            return int(struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0])
    return 0


def _address(fd: int) -> str:
    """The address of the other end of a tcp connection; "": it has ended, or is not tcp."""
    with suppress(OSError), _own(fd) as connection:
        if connection.family in (posix.AF_INET, posix.AF_INET6):
            return str(connection.getpeername()[0])
    return ""


def _shut_down(fd: int, address: str) -> None:
    """Ends a connection for both sides, if it still belongs to this address."""
    if _address(fd) == address:
        with suppress(OSError), _own(fd) as connection:
            connection.shutdown(posix.SHUT_RDWR)


def _own(fd: int) -> posix.socket:
    """A second descriptor of a connection of libzmq, which may close its own at any moment. Raises OSError."""
    own = os.dup(fd)
    try:
        return posix.socket(fileno=own)
    except OSError:
        os.close(own)
        raise
