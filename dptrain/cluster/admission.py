"""Who may take part: the checks of Hello, Welcome and Canary, and the sentence each refusal is explained with."""

from __future__ import annotations

import re

from dptrain.cluster.job import Job
from dptrain.wire.messages import PROTOCOL, Canary, Hello, Welcome

_INCARNATION = re.compile("[0-9a-f]{32}")


def protocol_fault(protocol: int) -> str:
    """Why a peer of this protocol cannot be understood; "" where it can."""
    if protocol == PROTOCOL:
        return ""
    return f"it speaks protocol {protocol}, the coordinator {PROTOCOL}: install the same dptrain on both sides"


def hello_fault(job: Job, hello: Hello) -> str:
    """Why this worker cannot take part, whatever it does; "" where it can."""
    fault = protocol_fault(hello.protocol)
    if fault:
        return fault
    if not _INCARNATION.fullmatch(hello.incarnation):
        return f"its incarnation is {hello.incarnation[:40]!r}: must be 32 hex digits"
    if hello.numerics != job.numerics:
        return f"it computes in {hello.numerics!r}, the run in {job.numerics!r}: install the same dptrain on both sides"
    return ""


def layout_fault(layout: str, welcome: Welcome) -> str:
    """Why the network a worker has built, of this `layout_digest`, is not the run's; "" where it is. Its own check."""
    if layout == welcome.layout:
        return ""
    text = f"the network built here has layout {layout[:12]}, the run's {welcome.layout[:12]}"
    return f"{text}: install the same dptrain, and the same file of a network of your own, on both sides"


def canary_fault(job: Job, canary: Canary) -> str:
    """Why what the worker has prepared does not fit the run; "" where it does."""
    if canary.dataset != job.dataset:
        return (
            f"its data set is {canary.dataset[:12]}, the run's {job.dataset[:12]}: "
            "put the same files on both hosts, or check --data-dir"
        )
    if canary.digest != job.canary:
        return (
            f"its canary shard gave {canary.digest[:12]}, the run's {job.canary[:12]}: this machine or its version of "
            "dptrain, numba or numpy computes other bits"
        )
    return ""
