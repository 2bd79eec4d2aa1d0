"""What `dptrain doctor` checks: this machine, and the way of a worker into the run of a coordinator.

The visit does what a worker does up to its first assignment: handshake, Hello, data and network, canary. Then it
leaves; an assignment it may have received goes to another worker.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from dptrain.cluster.codec import Limits
from dptrain.cluster.events import Arrived, Failure, Prepared, PrepareTask
from dptrain.cluster.job import layout_fault
from dptrain.cluster.messages import PROTOCOL, Admitted, Canary, Hello, Leave, Reject, Welcome
from dptrain.errors import DataError, MissingDataError, UsageError
from dptrain.net.address import connect_address, is_near, warning_about
from dptrain.net.keys import COORDINATOR, WORKER, Keyring, open_keyring
from dptrain.net.links import DealerLink
from dptrain.runs.manifest import cpu, versions
from dptrain.settings import DeploymentConfig

_CGROUP = Path("/sys/fs/cgroup")
_NEEDED_SHM = 64 << 20  #: the default of Docker; less is a mistake
_TIMEOUT = 3.0  #: seconds for a connection
_PATIENCE = 10.0  #: seconds for an answer of the coordinator
_ZMTP = 0xFF  #: first byte every ZeroMQ peer sends


class Finding(NamedTuple):
    """One line of a report. `ok` False: something will not work; the text says what to do."""

    name: str
    ok: bool
    text: str


# --- this machine


def cores() -> Iterator[Finding]:
    """Logical CPUs, those this process may use, and what the quota of a container leaves of them."""
    found = cpu()
    yield Finding("cpu", ok=True, text=f"{found['model']}: {found['count']} CPUs, {found['usable']} usable (affinity)")
    quota = cgroup_cpus()
    if quota is None:
        yield Finding("quota", ok=True, text="no limit (cpu.max)")
    else:
        text = f"{quota:g} CPUs (cpu.max)"
        if quota < 1:
            text += "; every process will be paused: give the container at least one CPU"
        yield Finding("quota", ok=quota >= 1, text=text)


def cgroup_cpus() -> float | None:
    """CPUs that the control group (v2, or v1) leaves this process; None: no limit."""
    try:
        limit, period = (_CGROUP / "cpu.max").read_text(encoding="utf-8").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit = (_CGROUP / "cpu/cpu.cfs_quota_us").read_text(encoding="utf-8")
        period = (_CGROUP / "cpu/cpu.cfs_period_us").read_text(encoding="utf-8")
        return None if int(limit) < 0 else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def networks(files: Sequence[str]) -> Iterator[Finding]:
    """Do the files given with --networks exist? They are not read."""
    for file in files:
        there = Path(file).expanduser().is_file()
        yield Finding("network", ok=there, text=f"{file}: {'exists' if there else 'no such file (--networks)'}")


def memory() -> Iterator[Finding]:
    """Available memory, and the size of /dev/shm."""
    available = _meminfo().get("MemAvailable", 0)
    if available:
        text = f"{available / 2**30:.1f} GB available of {_meminfo().get('MemTotal', 0) / 2**30:.1f} GB"
        enough = available >= 512 << 20
        yield Finding("memory", ok=enough, text=text if enough else f"{text}; a worker needs about 0.4 GB")
    try:
        shm = shutil.disk_usage("/dev/shm")
    except OSError as error:
        yield Finding("shm", ok=True, text=f"/dev/shm: {error.strerror}; dptrain does not need it")
        return
    text = f"/dev/shm {shm.free / 2**20:.0f} MB free of {shm.total / 2**20:.0f} MB"
    low = shm.total < _NEEDED_SHM
    yield Finding("shm", ok=not low, text=f"{text}; docker: --shm-size 256m" if low else text)


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {key: int(value.split()[0]) * 1024 for key, value in pairs}


def kernels(chosen_by: str) -> Iterator[Finding]:
    """Instruction sets of this CPU, the one in use, the source that chose it ("": none), and the kernel cache."""
    from dptrain.kernels import isa

    yield Finding("isa", ok=True, text=f"this CPU can run {', '.join(isa.available())}")
    try:
        yield Finding("", ok=True, text=f"in use: {isa.level()}, {chosen_by or 'the best of them'}")
    except UsageError as error:
        yield Finding("", ok=False, text=str(error))
        return
    from dptrain.kernels.compiled import cache_directory  # imports Numba

    path = Path(cache_directory())
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        advice = "set DPTRAIN_CACHE to a writable directory"
        yield Finding("cache", ok=False, text=f"{path}: {error.strerror}; {advice}")
        return
    compiled = len(list(path.rglob("*.nbc")))
    yield Finding("cache", ok=True, text=f"{path}: writable, {compiled} compiled kernels")


def sockets() -> Iterator[Finding]:
    """Can this process listen and connect on a Unix socket (ipc://) and on the loopback interface (tcp://)?"""
    with tempfile.TemporaryDirectory() as folder:
        yield Finding("ipc", *_loopback(socket.AF_UNIX, f"{folder}/doctor", f"socket files in {tempfile.gettempdir()}"))
    yield Finding("tcp", *_loopback(socket.AF_INET, ("127.0.0.1", 0), "127.0.0.1"))


def _loopback(family: socket.AddressFamily, address: str | tuple[str, int], where: str) -> tuple[bool, str]:
    try:
        with socket.socket(family) as server, socket.socket(family) as client:
            client.settimeout(_TIMEOUT)
            server.bind(address)
            server.listen()
            client.connect(server.getsockname())
    except OSError as error:
        return False, f"{where}: {error.strerror}"
    return True, f"{where}: listening and connecting work"


def software() -> Iterator[Finding]:
    """Versions of Python, dptrain and what it needs."""
    for name, version in versions().items():
        yield Finding(name, ok=version != "not installed", text=version)


def datasets(data_dir: str) -> Iterator[Finding]:
    """Which data sets are here, and where. A missing one is no fault; a damaged one is."""
    from dptrain.data.catalog import NAMES, data_home, standing  # imports Numba

    yield Finding("data", ok=True, text=f"searched in {data_home(data_dir)}")
    for name in NAMES:
        try:
            yield Finding(name, ok=True, text=standing(name, data_dir))
        except MissingDataError:
            yield Finding(name, ok=True, text="not here")
        except DataError as error:
            yield Finding(name, ok=False, text=str(error))


# --- the way to a coordinator


def parse_address(address: str) -> tuple[str, int]:
    """tcp://HOST:PORT -> host, port. Raises UsageError for other text."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not address.startswith("tcp://") or not host or not port:
        raise UsageError(f"--connect {address}: must be tcp://HOST:PORT")
    return host, port


def way_in(address: str, deployment: DeploymentConfig, *, insecure: bool) -> Iterator[Finding]:
    """Every step from the name of the host to the canary; after a step that failed there is no other."""
    for finding in connection(*parse_address(address)):
        yield finding
        if not finding.ok:
            return
    yield from visit(address, deployment, insecure=insecure)


def connection(host: str, port: int) -> Iterator[Finding]:
    """Resolves the name, connects, and looks whether a ZeroMQ peer answers."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Finding("resolve", ok=False, text=f"{host}: {error.strerror}; check the name, or give the IP address")
        return
    addresses = sorted({str(info[4][0]) for info in found})
    yield Finding("resolve", ok=True, text=f"{host} is {', '.join(addresses)}")
    try:
        with socket.create_connection((host, port), _TIMEOUT) as peer:
            yield Finding("connect", ok=True, text=f"{peer.getpeername()[0]} port {port} answers")
            greeting = peer.recv(1)
    except TimeoutError:
        yield Finding("connect", ok=False, text=f"{host} port {port}: no answer in {_TIMEOUT:g} s; a firewall?")
        return
    except OSError as error:
        advice = "is the coordinator running, and bound to more than 127.0.0.1?"
        yield Finding("connect", ok=False, text=f"{host} port {port}: {error.strerror}; {advice}")
        return
    zeromq = greeting == bytes([_ZMTP])
    yield Finding("greeting", zeromq, "a ZeroMQ peer" if zeromq else "the program that listens there is no coordinator")


def visit(address: str, deployment: DeploymentConfig, *, insecure: bool) -> Iterator[Finding]:
    """Keys, handshake, Hello, data and network, canary; after a step that failed there is no other."""
    try:
        ring = open_keyring(deployment.keys, WORKER)
        if ring is not None:
            ring.server(COORDINATOR)
        yield Finding("keys", ok=True, text=_about(ring, address))
        target = connect_address(address, insecure=insecure, keys=ring is not None)
    except UsageError as error:
        yield Finding("keys", ok=False, text=str(error))
        return
    if warning := warning_about(target, keys=ring is not None):
        yield Finding("insecure", ok=True, text=warning)
    link = DealerLink(target, ring)
    try:
        yield from _Visit(link, deployment).steps()
    finally:
        link.close(1.0)


def _about(ring: Keyring | None, address: str) -> str:
    if ring is not None:
        return f"{ring.name} of {ring.path}"
    return "none: not needed on this machine" if is_near(address) else "none (--keys DIRECTORY)"


_Wanted = TypeVar("_Wanted", Welcome, Admitted)


class _Visit:
    """One connection to a coordinator."""

    def __init__(self, link: DealerLink, deployment: DeploymentConfig) -> None:
        self._link, self._deployment = link, deployment
        self._me = secrets.token_hex(16)

    def steps(self) -> Iterator[Finding]:
        """From the handshake to the canary."""
        from dptrain.kernels import isa

        self._link.open()
        self._link.send(Hello(PROTOCOL, self._me, f"doctor:{os.getpid()}", os.getpid(), isa.NUMERICS, isa.level()))
        answer = self._answer(Welcome)
        if isinstance(answer, str):
            yield Finding("handshake", ok=False, text=answer)
            return
        yield Finding("handshake", ok=True, text="the coordinator talks to us")
        if isinstance(answer, Reject):
            yield Finding("hello", ok=False, text=f"refused: {answer.reason}")
            return
        yield Finding("hello", ok=True, text=f"welcome to run {answer.identity[:12]}, term {answer.term}")
        yield from self._prove(answer)

    def _prove(self, welcome: Welcome) -> Iterator[Finding]:
        from dptrain.workers.compute import RunComputer  # imports the kernels

        here = self._deployment
        made = RunComputer(here.data_dir, networks=here.networks).run(PrepareTask(welcome))
        if isinstance(made, Failure):
            yield Finding("data", ok=False, text=made.reason)
            return
        assert isinstance(made, Prepared)
        if fault := layout_fault(made.layout, welcome):
            yield Finding("network", ok=False, text=fault)
            return
        yield Finding("data", ok=True, text=f"data set {made.dataset[:12]} and network {made.layout[:12]} are here")
        self._link.know(Limits(made.params.size, made.buffers.size, 0))
        self._link.send(Canary(welcome.term, self._me, made.canary, made.dataset))
        answer = self._answer(Admitted)
        self._link.send(Leave(welcome.term, self._me, "it was only the doctor"))
        if isinstance(answer, Admitted):
            yield Finding("canary", ok=True, text=f"{made.canary[:12]}: the same bits; a worker would be admitted")
        else:
            yield Finding("canary", ok=False, text=answer if isinstance(answer, str) else f"refused: {answer.reason}")

    def _answer(self, wanted: type[_Wanted]) -> _Wanted | Reject | str:
        """The message waited for, a refusal, or the reason why there is none."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            for event in self._link.poll(0.25):
                if not isinstance(event, Arrived):
                    return event.reason
                if isinstance(event.message, Reject | wanted):
                    return event.message
        return f"no answer in {_PATIENCE:.0f} s: is the coordinator stopped, or still compiling its kernels? Try again"
