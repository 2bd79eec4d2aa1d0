"""What the coordinator of one run is to do: fixed before it starts, never changed."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.course import Course


@dataclass(frozen=True, slots=True)
class Job:
    """One run as this life of the coordinator carries it on."""

    term: int
    identity: str
    config: str  #: JSON of the identity part of the configuration, sent to the workers
    dataset: str  #: SHA-256 every worker's data set must have
    canary: str  #: SHA-256 every worker must reproduce, see `workers.parts.canary_digest`
    numerics: str  #: fingerprint of the arithmetic every worker must have
    course: Course
    stop_after: int = 0  #: pause (with a checkpoint) once so many steps are applied; 0: no
    checkpoint_every: int = 0  #: steps; 0: at the end of each epoch
    hash_every: int = 0  #: steps; 0: only with checkpoints
    audit: float = 0.0  #: part of all shards that is computed by two workers and compared
    max_wait: float = 0.0  #: seconds without any worker after which the run stops (with a checkpoint); 0: never

    def checkpoints(self, step: int) -> bool:
        """Whether a checkpoint is due after `step` updates (after their validation, if there is one)."""
        if step in (self.course.steps, self.stop_after):
            return True
        return step % self.checkpoint_every == 0 if self.checkpoint_every else self.course.ends_epoch(step)

    def hashes(self, step: int) -> bool:
        """Whether StepDone carries hashes after `step` updates."""
        return self.checkpoints(step) or (self.hash_every > 0 and step % self.hash_every == 0)
