"""`dptrain eval` and `dptrain predict`: what a trained network makes of a split of its data set, or of image files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dptrain.cli.app import complain
from dptrain.cli.flags import takes_settings, use_deployment
from dptrain.cli.output import write
from dptrain.errors import DataError, UsageError

_BAR = 24  #: characters of a probability of 1
_TOP = 5

Checkpoint = Annotated[Path, Parameter(help="run directory, or .safetensors file")]


@takes_settings("data_dir", "isa", "networks")
def evaluate(
    checkpoint: Checkpoint,
    /,
    *,
    split: Annotated[Literal["test", "validation", "train"], Parameter(help="images to score")] = "test",
    five: Annotated[bool, Parameter(negative=(), help="mean over the center crop and the four corner crops")] = False,
    per_class: Annotated[bool, Parameter(negative=(), help="also print the accuracy of each class")] = False,
    json_lines: Annotated[bool, Parameter("--json", negative=(), help="print one JSON object")] = False,
    **flags: str | bool,
) -> int:
    """Score a checkpoint on a split of the data set it was trained on: loss, top-1 accuracy, top-5 accuracy."""
    deployment = use_deployment(flags)
    from dptrain.api.trained import load_trained, open_trained_data, score  # imports Numba: only now is the ISA known

    trained = load_trained(checkpoint, deployment.networks)
    source = open_trained_data(trained, deployment.data_dir)
    found = score(trained, source, split, five=five, watch=_progress)
    if json_lines:
        figures = {"split": split, "samples": found.samples, "step": found.step, "loss": found.loss}
        figures |= {"acc": found.accuracy, "top5": found.accuracy5}
        rows = [{"class": c.name, "samples": c.samples, "hits": c.hits, "acc": c.accuracy} for c in found.classes]
        print(json.dumps(figures | ({"classes": rows} if per_class else {})))
        return 0
    five_best = f"top5 {found.accuracy5:.4f}  " if len(found.classes) > _TOP else ""  # of five classes it is always 1
    print(
        f"{split}  loss {found.loss:.4f}  acc {found.accuracy:.4f}  {five_best}"
        f"({found.samples:,} images, weights of step {found.step}, {trained.path})"
    )
    if per_class:
        for row in found.classes:
            print(f"  {row.name:<16} {row.accuracy:.4f}  {row.hits:>6,} of {row.samples:,}")
    return 0


def _progress(done: int, size: int) -> None:
    """On a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} of {size:,}" + ("\r\x1b[K" if done == size else "\x1b[K"))


@takes_settings("isa", "networks")
def predict(
    checkpoint: Checkpoint,
    /,
    *images: Annotated[Path, Parameter(help="image files, or directories of them", required=True)],
    topk: Annotated[int, Parameter(help="classes printed per image")] = 3,
    json_lines: Annotated[bool, Parameter("--json", negative=(), help="print one JSON object per image")] = False,
    submission: Annotated[
        Path | None, Parameter(help="write a CSV file for Kaggle; IMAGES may then be its test.csv")
    ] = None,
    **flags: str | bool,
) -> int:
    """Classify images: each is center-cropped and resized to the size of the data set. Other files are reported."""
    if topk < 1:
        raise UsageError(f"--topk {topk}: must be a whole number, 1 or more")
    deployment = use_deployment(flags)
    from dptrain.api import predictions  # imports Numba: only now is the ISA known
    from dptrain.api.inputs import inputs_of
    from dptrain.api.trained import load_trained

    trained = load_trained(checkpoint, deployment.networks)
    if submission:
        table = predictions.submission(trained, images)
        write(submission, table.csv().encode())
        heads = f"{','.join(table.heads[:3])}{',...' if len(table.heads) > 3 else ''}"
        sys.stdout.write(f"{submission}: {len(table.rows):,} rows of {heads}\n")
        return 0
    inputs = inputs_of(trained.facts)
    code, width = 0, max((len(str(p)) for p in images), default=0)
    for path in predictions.image_files(images):
        try:
            named = predictions.most_probable(trained, inputs, path, topk)
        except DataError as error:
            code = complain(str(error), error.exit_code)
            continue
        print(_json(path, named) if json_lines else _text(path, named, width))
    return code


def _json(path: Path, named: list[tuple[str, float]]) -> str:
    top = [{"class": name, "probability": round(p, 6)} for name, p in named]
    return json.dumps({"file": str(path), "top": top})


def _text(path: Path, named: list[tuple[str, float]], width: int) -> str:
    wide = max(len(name) for name, _ in named)
    rows = [f"{name:<{wide}}  {p:.3f}  {'#' * round(_BAR * p)}".rstrip() for name, p in named]
    margin = " " * max(width, len(str(path)))
    return "\n".join(f"{path!s:<{width}}  {row}" if at == 0 else f"{margin}  {row}" for at, row in enumerate(rows))
