"""`dptrain eval`: loss and accuracy of a checkpoint on one split."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from cyclopts import Parameter

from dptrain.cli.flags import takes_config, texts
from dptrain.configfile import resolve
from dptrain.errors import DataError

if TYPE_CHECKING:
    from dptrain.cli.loading import Trained
    from dptrain.data.shards import ShardSource
    from dptrain.types import F64, I64

_BATCH = 256  #: samples scored between two lines of progress


@takes_config("data_dir", "isa", "networks")
def evaluate(
    checkpoint: Annotated[Path, Parameter(help="run directory, or .safetensors file")],
    /,
    *,
    split: Annotated[Literal["test", "validation", "train"], Parameter(help="samples to score")] = "test",
    five: Annotated[bool, Parameter(negative=(), help="mean over the middle and the four corner crops")] = False,
    per_class: Annotated[bool, Parameter(negative=(), help="also accuracy class by class")] = False,
    json_lines: Annotated[bool, Parameter("--json", negative=(), help="one JSON object")] = False,
    **flags: str | bool,
) -> int:
    """Score a checkpoint on a split of the data set it was trained on: loss by its criterion, top-1, top-5."""
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    from dptrain.cli.loading import load_trained, open_trained_data  # imports Numba: only now is the ISA known

    trained = load_trained(checkpoint, deployment.networks)
    config = trained.facts.config
    source = open_trained_data(trained, deployment.data_dir)
    if source.size(split) == 0:
        raise DataError(f"{trained.path}: the run has no {split} split (validation = {config.data.validation})")
    losses, ranks, labels = _score(trained, source, split, five=five)
    figures = {
        "split": split,
        "samples": len(labels),
        "step": trained.step,
        "loss": sum(losses.tolist()) / (trained.criterion.count(labels) or 1.0),
        "acc": int((ranks == 0).sum()) / len(labels),
        "top5": int((ranks < 5).sum()) / len(labels),
    }
    if json_lines:
        print(json.dumps(figures | ({"classes": _classes(trained, ranks, labels)} if per_class else {})))
        return 0
    print(
        f"{split}  loss {figures['loss']:.4f}  acc {figures['acc']:.4f}  top5 {figures['top5']:.4f}  "
        f"({len(labels):,} samples, weights of step {trained.step}, {trained.path})"
    )
    if per_class:
        for row in _classes(trained, ranks, labels):
            print(f"  {row['class']:<16} {row['acc']:.4f}  {row['hits']:>6,} of {row['samples']:,}")
    return 0


def _score(trained: Trained, source: ShardSource, split: str, *, five: bool) -> tuple[F64, I64, I64]:
    """Loss, rank of the right class, and class of every sample."""
    from dptrain.cli.views import scores, views  # imports Numba
    from dptrain.kernels import loss

    seen = views(source, five=five)
    losses, ranks, labels = [], [], []
    size = source.size(split)
    for at in range(0, size, _BATCH):
        logits, y = scores(trained, source, split, (at, min(size, at + _BATCH)), seen)
        losses.append(trained.criterion(logits, y)[0])
        ranks.append(loss.ranks(logits, y))
        labels.append(y)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{min(size, at + _BATCH):,} of {size:,}\x1b[K")
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    return np.concatenate(losses), np.concatenate(ranks), np.concatenate(labels)


def _classes(trained: Trained, ranks: I64, labels: I64) -> list[dict[str, str | int | float]]:
    rows: list[dict[str, str | int | float]] = []
    for number, name in enumerate(trained.facts.data.classes):
        mine = ranks[labels == number]
        hits = int((mine == 0).sum())
        rows.append({"class": name, "samples": len(mine), "hits": hits, "acc": hits / max(1, len(mine))})
    return rows
