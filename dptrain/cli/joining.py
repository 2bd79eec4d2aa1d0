"""A worker's way into a run, step by step, for `dptrain doctor --connect`: handshake, Hello, data and network, canary.

It is what a worker does up to its first assignment; then it leaves, and what it may have been given goes to another.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from typing import TypeVar

from dptrain.cli.checks import Finding
from dptrain.cluster.admission import layout_fault
from dptrain.cluster.events import Arrived, Failure, Prepared, PrepareTask
from dptrain.config import DeploymentConfig
from dptrain.errors import UsageError
from dptrain.transport.address import connect_address, is_near, warning_about
from dptrain.transport.dealer import DealerLink
from dptrain.transport.keys import COORDINATOR, WORKER, Keyring, open_keyring
from dptrain.wire.codec import Limits
from dptrain.wire.messages import PROTOCOL, Admitted, Canary, Hello, Leave, Reject, Welcome

_PATIENCE = 10.0  #: seconds for an answer
_Wanted = TypeVar("_Wanted", Welcome, Admitted)
_BUSY = f"no answer in {_PATIENCE:.0f} s: is the coordinator stopped, or still compiling its kernels? Try again"


def steps(address: str, deployment: DeploymentConfig, *, insecure: bool) -> Iterator[Finding]:
    """Each step that was taken; after one that failed there is no other."""
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


class _Visit:
    """One connection."""

    def __init__(self, link: DealerLink, deployment: DeploymentConfig) -> None:
        self._link, self._deployment = link, deployment
        self._me = secrets.token_hex(16)

    def steps(self) -> Iterator[Finding]:
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
        yield Finding("data", ok=True, text=f"data set {made.dataset[:12]} and network {made.layout[:12]} are there")
        self._link.know(Limits(made.params.size, made.buffers.size, 0))
        self._link.send(Canary(welcome.term, self._me, made.canary, made.dataset))
        answer = self._answer(Admitted)
        self._link.send(Leave(welcome.term, self._me, "it was only the doctor"))
        if isinstance(answer, Admitted):
            yield Finding("canary", ok=True, text=f"{made.canary[:12]}: the same bits; a worker would be admitted here")
        else:
            yield Finding("canary", ok=False, text=answer if isinstance(answer, str) else f"refused: {answer.reason}")

    def _answer(self, wanted: type[_Wanted]) -> _Wanted | Reject | str:
        """The message waited for, a refusal, or why there is none."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            for event in self._link.poll(0.25):
                if not isinstance(event, Arrived):
                    return event.reason
                if isinstance(event.message, Reject | wanted):
                    return event.message
        return _BUSY
