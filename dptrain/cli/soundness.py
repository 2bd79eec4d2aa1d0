"""What can be seen of a network before it is trained: each look is one finding. Imports the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log
from typing import NamedTuple

import numpy as np

from dptrain.config import Config
from dptrain.nn import initial_buffers, initial_params
from dptrain.workers.parts import Parts, open_parts

_SHARDS = 4  #: looked at
_NEAR = 0.5  #: a first loss further than this share from that of blind guessing is odd


class Finding(NamedTuple):
    """One line. `ok` False: look at it before training."""

    name: str
    ok: bool
    text: str


def findings(config: Config) -> Iterator[Finding]:
    """First loss, gradients, evaluation: of the first weights on the first shards. Raises UsageError and DataError."""
    plain = replace(config, model=replace(config.model, l2=0.0, class_weights=()))  # a loss that can be compared
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
    """A score must not depend on the images scored with it, as it did in the seeds (docs/seeds.md)."""
    model, (x, _) = parts.model, parts.source.images(0, 0)
    params, buffers = initial_params(model.params, parts.config.training.seed), initial_buffers(model.buffers)
    together, alone = model.logits(params, buffers, x)[:1], model.logits(params, buffers, x[:1])
    same = together.tobytes() == alone.tobytes()
    return Finding("evaluation", same, f"a score {'does not depend' if same else 'DEPENDS'} on the images beside it")
