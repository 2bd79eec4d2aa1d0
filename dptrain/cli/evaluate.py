"""`dptrain eval`: loss and accuracy of a checkpoint on one split."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dptrain.cli.flags import takes_settings, texts
from dptrain.recipefile import resolve


@takes_settings("data_dir", "isa", "networks")
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
    from dptrain.api.trained import (  # imports Numba: only now is the ISA known
        load_trained,
        open_trained_data,
        score,  # imports Numba: only now is the ISA known
    )

    trained = load_trained(checkpoint, deployment.networks)
    source = open_trained_data(trained, deployment.data_dir)
    found = score(trained, source, split, five=five, watch=_progress)
    if json_lines:
        figures = {"split": split, "samples": found.samples, "step": found.step, "loss": found.loss}
        figures |= {"acc": found.accuracy, "top5": found.accuracy5}
        rows = [{"class": c.name, "samples": c.samples, "hits": c.hits, "acc": c.accuracy} for c in found.classes]
        print(json.dumps(figures | ({"classes": rows} if per_class else {})))
        return 0
    print(
        f"{split}  loss {found.loss:.4f}  acc {found.accuracy:.4f}  top5 {found.accuracy5:.4f}  "
        f"({found.samples:,} samples, weights of step {found.step}, {trained.path})"
    )
    if per_class:
        for row in found.classes:
            print(f"  {row.name:<16} {row.accuracy:.4f}  {row.hits:>6,} of {row.samples:,}")
    return 0


def _progress(done: int, size: int) -> None:
    """On a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} of {size:,}" + ("\r\x1b[K" if done == size else "\x1b[K"))
