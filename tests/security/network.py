"""Hosts as network namespaces, with links in user space that delay, lose, narrow, cut (also one way) and add noise.

Each host has one TUN device; what it sends is read here, and handed to the host it is for, or not, by the rules of that
direction. So the hosts' own TCP meets the faults, packet by packet, and the kernel needs neither netem nor nftables.
Needs root, `ip` and /dev/net/tun.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from itertools import count

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_QUEUE = 0.4  #: seconds of packets that wait for a narrow wire; later ones are lost, as in a router
MTU = 1500


def missing() -> str:
    """Why no such network can be made here; "" where it can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    try:
        made = subprocess.run(
            ["ip", "netns", "add", f"dptrain-{os.getpid()}"], capture_output=True, text=True, check=False
        )
    except OSError:
        return "needs `ip` (iproute2)"
    if made.returncode:
        return f"ip netns: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", f"dptrain-{os.getpid()}"], check=True)
    return ""


@dataclass
class Wire:
    """One direction between two hosts."""

    cut: bool = False
    loss: float = 0.0  #: of packets
    delay: float = 0.0  #: seconds
    rate: float = 0.0  #: bits a second; 0: no limit
    twice: float = 0.0  #: of packets that come a second time, a little later
    noise: float = 0.0  #: of packets in which one bit is turned
    free_at: float = field(default=0.0, repr=False)  #: when a narrow wire has sent all it was given


class Network:
    """`hosts` of them, 10.77.0.1 and so on, joined by wires without faults. A context manager."""

    def __init__(self, hosts: int, seed: int = 0) -> None:
        self.names = [f"dpt{os.getpid()}-{n}" for n in range(hosts)]
        self.wires = {(a, b): Wire() for a in range(hosts) for b in range(hosts) if a != b}
        self.passed, self.lost = 0, 0  #: packets
        self._random = random.Random(seed)
        self._taps: list[int] = []
        self._late: list[tuple[float, int, int, bytes]] = []  #: when, number, to whom, packet
        self._numbers = count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Network:
        for number, name in enumerate(self.names):
            _ip("netns", "add", name)
            self._taps.append(_open_tun(name))
            _ip("-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "tun0")
            _ip("-n", name, "link", "set", "tun0", "mtu", str(MTU), "up")
            _ip("-n", name, "link", "set", "lo", "up")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for tap in self._taps:
            os.close(tap)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def address(self, host: int) -> str:
        """Of a host."""
        return f"10.77.0.{host + 1}"

    def on(self, host: int, *command: str) -> list[str]:
        """The command line that runs a command there."""
        return ["ip", "netns", "exec", self.names[host], *command]

    def set(self, **faults: float) -> None:
        """The same for all wires; what is not named is healed."""
        for wire in self.wires.values():
            wire.__init__(**faults)  # type: ignore[misc]  # all fields anew

    def _run(self) -> None:
        while not self._stop.is_set():
            now = time.monotonic()
            while self._late and self._late[0][0] <= now:
                _, _, to, packet = heapq.heappop(self._late)
                self._hand_over(to, packet)
            wait = min(0.05, self._late[0][0] - now) if self._late else 0.05
            for tap in select.select(self._taps, [], [], max(0.0, wait))[0]:
                self._take(self._taps.index(tap), os.read(tap, MTU + 100))

    def _take(self, source: int, packet: bytes) -> None:
        to = (
            packet[19] - 1
        )  # last byte of an IPv4 packet's destination; what is not IPv4 (router solicitations) is dropped
        wire = self.wires.get((source, to))
        if packet[0] >> 4 != 4 or wire is None:
            return
        now = time.monotonic()
        full = wire.rate > 0 and wire.free_at > now + _QUEUE
        if wire.cut or full or self._random.random() < wire.loss:
            self.lost += 1
            return
        at = now + wire.delay
        if wire.rate > 0:
            wire.free_at = max(now, wire.free_at) + 8 * len(packet) / wire.rate
            at = wire.free_at + wire.delay
        if self._random.random() < wire.noise:
            noisy = bytearray(packet)
            noisy[self._random.randrange(20, len(packet))] ^= 1 << self._random.randrange(8)
            packet = bytes(noisy)
        self._send(at, now, to, packet)
        if self._random.random() < wire.twice:
            self._send(at + 0.02, now, to, packet)

    def _send(self, at: float, now: float, to: int, packet: bytes) -> None:
        if at <= now:
            self._hand_over(to, packet)
        else:
            heapq.heappush(self._late, (at, next(self._numbers), to, packet))

    def _hand_over(self, to: int, packet: bytes) -> None:
        self.passed += 1
        try:
            os.write(self._taps[to], packet)
        except OSError:  # the device's queue is full
            self.lost += 1


def _open_tun(namespace: str) -> int:
    """A descriptor of a new tun0 in that namespace; a thread of its own goes there, because it cannot come back."""
    found: list[int] = []

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{namespace}") as there:
            if libc.setns(there.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", b"tun0", _IFF_TUN | _IFF_NO_PI))
        found.append(tap)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return found[0]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
