"""A few images learned by heart: what any network that can learn can do. The same machines as any training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dptrain.cli.soundness import Finding
from dptrain.cluster.reports import EpochDone, Notice, Report
from dptrain.cluster.state import TrainingState
from dptrain.config import Config
from dptrain.data import open_source
from dptrain.transport.preparation import Preparation
from dptrain.transport.stopping import StopSignals
from dptrain.workers.coordinator import Life, train
from dptrain.workers.parts import open_parts

_BATCH, _SHARD = 50, 25  #: the seeds' batch; two shards, so that two threads have work
_ENOUGH = 0.99  #: accuracy


class Overfit(NamedTuple):
    """How far it came."""

    images: int
    epochs: tuple[EpochDone, ...]
    failure: str  #: "": none
    code: int  #: exit code of the training

    def finding(self) -> Finding:
        """For people."""
        if self.failure or not self.epochs:
            return Finding("by heart", ok=False, text=self.failure or "no epoch was finished")
        last = self.epochs[-1]
        best = max(epoch.accuracy for epoch in self.epochs)
        text = f"{self.images} images: loss {last.loss:.4f}, accuracy {best:.3f} after {len(self.epochs)} passes"
        if best >= _ENOUGH:
            return Finding("by heart", ok=True, text=text)
        return Finding("by heart", ok=False, text=f"{text}; it should come to 1: try another lr, or more --passes")


def overfit(config: Config, images: int, passes: int) -> Overfit:
    """Trains on that many images of the training set, with lr and update rule as given and nothing that hinders.

    No augmentation, decay, dropout, schedule or warm-up. Raises UsageError and DataError.
    """
    narrowed = _narrowed(config, images, passes)
    parts = open_parts(narrowed, config.deployment.data_dir)
    memory = _Memory()
    with StopSignals() as stop:
        code: int = train(parts, Life(term=1, logs=Path()), memory, stop, Preparation())
    return Overfit(parts.source.size("train"), tuple(memory.epochs), memory.failure, code)


def _narrowed(config: Config, images: int, passes: int) -> Config:
    size = open_source(config.data, config.training, config.deployment.data_dir).size("train")
    kept = min(size, images)
    training = replace(
        config.training,
        batch_size=_BATCH,
        shard_size=_SHARD,
        weight_decay=0.0,
        schedule="constant",
        milestones=(),
        rates=(),
        warmup=0.0,
        warmup_factor=0.0,
        epochs=passes + 1,  # one more than are trained: no split is scored before the last
    )
    return Config(
        replace(config.data, samples=kept, augment=()),
        replace(config.model, l2=0.0, dropout=0.0),
        training,
        replace(config.deployment, workers=0, eval_every=passes + 1, max_steps=passes * -(-kept // _BATCH)),
    )


class _Memory:
    """A recorder that keeps what is asked about, and writes nothing."""

    def __init__(self) -> None:
        self.epochs: list[EpochDone] = []
        self.failure = ""

    def tell(self, report: Report) -> None:
        """Keeps epochs and errors."""
        match report:
            case EpochDone():
                self.epochs.append(report)
            case Notice("error", text):
                self.failure = text

    def checkpoint(self, state: TrainingState, best: bool) -> None:  # noqa: FBT001  # the protocol has it so
        """Nothing is kept of it."""
