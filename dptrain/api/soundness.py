"""What can be seen of a network before it is trained: each look is one finding. Imports the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.api.checks import Finding
from dptrain.cluster.events import EpochDone, Notice, Report
from dptrain.data import open_source
from dptrain.nn import initial_buffers, initial_params
from dptrain.processes.stopping import Preparation, StopSignals
from dptrain.settings import Config
from dptrain.state import TrainingState
from dptrain.workers.coordinator import Life, train
from dptrain.workers.parts import Parts, open_parts

_BATCH, _SHARD = 50, 25  #: the predecessors' minibatch; two shards, so that two threads have work
_ENOUGH = 0.99  #: accuracy


class Overfit(NamedTuple):
    """How far it came."""

    images: int
    epochs: tuple[EpochDone, ...]
    failure: str  #: "": none
    code: int  #: exit code of the training

    def finding(self) -> Finding:
        if self.failure or not self.epochs:
            return Finding("overfit", ok=False, text=self.failure or "no epoch was finished")
        last = self.epochs[-1]
        best = max(epoch.accuracy for epoch in self.epochs)
        text = f"{self.images} images: loss {last.loss:.4f}, accuracy {best:.3f} after {len(self.epochs)} passes"
        if best >= _ENOUGH:
            return Finding("overfit", ok=True, text=text)
        return Finding("overfit", ok=False, text=f"{text}; it should come to 1: try another lr, or more --passes")


def overfit(config: Config, images: int, passes: int) -> Overfit:
    """Trains on that many images of the training set, with lr and update rule as given and nothing that hinders it.

    No augmentation, decay, dropout, schedule or warm-up. Raises UsageError and DataError.
    """
    narrowed = _narrowed(config, images, passes)
    parts = open_parts(narrowed, config.deployment.data_dir)
    memory = _Memory()
    with StopSignals() as stop:
        code = train(parts, Life(term=1, logs=Path()), memory, stop, Preparation())
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
        replace(config.model, l2=0.0, dropout=0.0, label_smoothing=0.0),
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


_SHARDS = 4  #: looked at
_NEAR = 0.5  #: a first loss further than this share from that of blind guessing is odd


def findings(config: Config) -> Iterator[Finding]:
    """First loss, gradients, evaluation: of the first weights on the first shards. Raises UsageError and DataError."""
    model = replace(config.model, l2=0.0, class_weights=(), label_smoothing=0.0)
    plain = replace(config, model=model)  # its loss can be compared
    parts = open_parts(plain, config.deployment.data_dir)
    params = initial_params(parts.model.params, config.training.seed)
    shards = range(min(_SHARDS, parts.source.sampler.shards(0)))
    results = [parts.model.gradient(params, *parts.source.images(0, shard), 0, shard) for shard in shards]
    loss = sum(r.loss for r in results) / sum(r.samples for r in results)
    yield _first_loss(config.model.criterion, loss, len(parts.source.dataset.classes))
    gradient = np.max([np.abs(r.gradient) for r in results], axis=0)
    idle = [name for name, view in parts.model.params.views(gradient).items() if not view.any()]
    finite = bool(np.isfinite(gradient).all())
    said = f"all {len(parts.model.params.specs)} arrays get one" if finite else "not finite"
    yield Finding("gradients", ok=finite and not idle, text=f"none for {', '.join(idle)}" if idle else said)
    yield _alone(parts)


def _first_loss(criterion: str, loss: float, classes: int) -> Finding:
    """Against the loss of scores that are all 0."""
    guess, text = {
        "hinge": (classes - 1.0, f"{classes} - 1"),
        "bce": (classes * log(2), f"{classes} ln 2"),
    }.get(criterion, (log(classes), f"ln {classes}"))
    near = abs(loss - guess) <= _NEAR * guess
    advice = "" if near else ": scores start too far from 0, or labels or pixels are not what they should be"
    return Finding("first loss", near, f"{loss:.3f}; guessing costs {text} = {guess:.3f}{advice}")


def _alone(parts: Parts) -> Finding:
    """A score must not depend on the images scored with it, as it did in the predecessors (docs/predecessors.md)."""
    model, (x, _) = parts.model, parts.source.images(0, 0)
    params, buffers = initial_params(model.params, parts.config.training.seed), initial_buffers(model.buffers)
    together, alone = model.logits(params, buffers, x)[:1], model.logits(params, buffers, x[:1])
    same = together.tobytes() == alone.tobytes()
    return Finding("evaluation", same, f"a score {'does not depend' if same else 'DEPENDS'} on the images beside it")
