"""What one life of the coordinator is to do, and which workers may take part in it. Fixed before it starts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dptrain.cluster.messages import PROTOCOL, Canary, Hello, Welcome
from dptrain.course import Course


@dataclass(frozen=True, slots=True)
class Job:
    """One run, as this life of the coordinator continues it."""

    term: int
    identity: str
    config: str  #: JSON of the identity part of the configuration, sent to the workers
    dataset: str  #: SHA-256 every worker's data set must have
    canary: str  #: SHA-256 every worker must reproduce, see `workers.parts.canary_digest`
    numerics: str  #: name of the arithmetic every worker must have
    course: Course
    stop_after: int = 0  #: stop (with a checkpoint) when so many steps are applied; 0: do not
    checkpoint_every: int = 0  #: steps; 0: at the end of each epoch
    hash_every: int = 0  #: steps; 0: only with checkpoints
    audit: float = 0.0  #: share of all shards that two workers compute and the coordinator compares
    max_wait: float = 0.0  #: seconds without any worker after which the run stops (with a checkpoint); 0: never

    def checkpoints(self, step: int) -> bool:
        """Whether a checkpoint is due after `step` updates (after their validation, if there is one)."""
        if step in (self.course.steps, self.stop_after):
            return True
        return step % self.checkpoint_every == 0 if self.checkpoint_every else self.course.ends_epoch(step)

    def hashes(self, step: int) -> bool:
        """Whether StepDone carries hashes after `step` updates."""
        return self.checkpoints(step) or (self.hash_every > 0 and step % self.hash_every == 0)


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
