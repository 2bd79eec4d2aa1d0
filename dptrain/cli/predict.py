"""`dptrain predict`: class probabilities of image files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from dptrain.cli.app import complain
from dptrain.cli.flags import takes_settings, texts
from dptrain.errors import DataError, UsageError
from dptrain.recipefile import resolve
from dptrain.types import F32, U8

_BAR = 24  #: characters of a probability of 1


@takes_settings("isa", "networks")
def predict(
    checkpoint: Annotated[Path, Parameter(help="run directory, or .safetensors file")],
    /,
    *images: Annotated[Path, Parameter(help="image files, or directories of them", required=True)],
    topk: Annotated[int, Parameter(help="classes shown an image")] = 3,
    json_lines: Annotated[bool, Parameter("--json", negative=(), help="one JSON object an image")] = False,
    submission: Annotated[Path | None, Parameter(help="write Kaggle's CSV there; also from its test.csv")] = None,
    **flags: str | bool,
) -> int:
    """Name what is in images: brought to the data set's size, cut in the middle. A file that is no image is told."""
    if topk < 1:
        raise UsageError(f"--topk {topk}: must be a whole number from 1 on")
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    from dptrain.api.trained import load_trained  # imports Numba: only now is the ISA known

    trained = load_trained(checkpoint, deployment.networks)
    if submission:
        from dptrain.cli.submission import submit

        tables = all(path.suffix.lower() == ".csv" for path in images)
        return submit(trained, images if tables else tuple(_files(images)), _pixels, submission)
    from dptrain.api.inputs import inputs_of

    inputs = inputs_of(trained.facts)
    code, width = 0, max((len(str(p)) for p in images), default=0)
    for path in _files(images):
        try:
            pixels = np.ascontiguousarray(inputs.seen(_pixels(path, inputs.shape)))
        except DataError as error:
            code = complain(str(error), error.exit_code)
            continue
        best = _best(trained.model.logits(trained.params, trained.buffers, pixels)[0], topk)
        named = [(trained.facts.data.classes[i], p) for i, p in best]
        print(_json(path, named) if json_lines else _text(path, named, width))
    return code


def _files(targets: tuple[Path, ...]) -> Iterator[Path]:
    """Files as given; of directories every file with an image's suffix, in order of names."""
    from dptrain.data.imagefile import SUFFIXES  # imports Numba

    for target in targets:
        if not target.is_dir():
            yield target
            continue
        found = sorted(p for p in target.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise DataError(f"{target} holds no image file")
        yield from found


def _pixels(path: Path, shape: tuple[int, int, int]) -> U8:
    """(1, h, w, c) uint8, read as the images of a data set are."""
    from dptrain.data.imagefile import Picture, read_images  # imports Numba

    return read_images([Picture(path)], shape)


def _best(logits: F32, topk: int) -> list[tuple[int, float]]:
    """(class, probability), the most probable first; of equals the lower class first."""
    odds = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = odds / odds.sum()
    order = np.argsort(-probabilities, kind="stable")[:topk]
    return [(int(i), float(probabilities[i])) for i in order]


def _json(path: Path, named: list[tuple[str, float]]) -> str:
    top = [{"class": name, "probability": round(p, 6)} for name, p in named]
    return json.dumps({"file": str(path), "top": top})


def _text(path: Path, named: list[tuple[str, float]], width: int) -> str:
    wide = max(len(name) for name, _ in named)
    rows = [f"{name:<{wide}}  {p:.3f}  {'#' * round(_BAR * p)}".rstrip() for name, p in named]
    margin = " " * max(width, len(str(path)))
    return "\n".join(f"{path!s:<{width}}  {row}" if at == 0 else f"{margin}  {row}" for at, row in enumerate(rows))
