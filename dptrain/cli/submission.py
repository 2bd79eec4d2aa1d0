"""`dptrain predict --submission`: predictions as the CSV files Kaggle takes.

test.csv of pixels (digit-recognizer)      ImageId,Label            counted from 1
photographs, for a run on sfddd            img,c0,...,c9            probabilities
image files, for any other run             id,label                 id: the file's name without suffix
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dptrain.api.inputs import Inputs, inputs_of
from dptrain.api.trained import Trained
from dptrain.cli.picture import write
from dptrain.data.datasets.mnist_kaggle import read_pixels
from dptrain.errors import UsageError
from dptrain.kernels import loss
from dptrain.types import F64, U8

_BATCH = 256

#: path, (h, w, c) -> (1, h, w, c)
Read = Callable[[Path, tuple[int, int, int]], U8]


def submit(trained: Trained, images: Sequence[Path], read: Read, out: Path) -> int:
    """Writes all predictions, or (DataError, UsageError) nothing. A file that is no image is an error here."""
    facts = trained.facts
    inputs = inputs_of(facts)
    tables = [path for path in images if path.suffix.lower() == ".csv"]
    if tables and len(images) > 1:
        raise UsageError(f"a submission is of one table of pixels ({tables[0]}), or of image files; not of both")
    if tables:
        odds = _probabilities(trained, inputs, _chunks(read_pixels(tables[0], inputs.shape)))
        heads = ["ImageId", "Label"]
        rows = [[str(number), _name(trained, p)] for number, p in enumerate(odds, 1)]
    else:
        drivers = facts.config.data.dataset.split(":")[0] == "sfddd"
        ids = _ids(images, [path.name if drivers else path.stem for path in images])
        odds = _probabilities(trained, inputs, _read(images, inputs, read))
        if drivers:
            heads = ["img", *(f"c{number}" for number in range(len(facts.data.classes)))]
            rows = [[name, *(f"{p:.6f}" for p in ps)] for name, ps in zip(ids, odds, strict=True)]
        else:
            heads = ["id", "label"]
            rows = [[name, _name(trained, ps)] for name, ps in zip(ids, odds, strict=True)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    write(out, text.getvalue().encode())
    sys.stdout.write(f"{out}: {len(rows):,} rows of {','.join(heads[:3])}{',...' if len(heads) > 3 else ''}\n")
    return 0


def _ids(paths: Sequence[Path], ids: list[str]) -> list[str]:
    """`ids`, one a path. Raises UsageError where two are equal."""
    first: dict[str, Path] = {}
    for path, name in zip(paths, ids, strict=True):
        if first.setdefault(name, path) is not path:
            raise UsageError(
                f"{first[name]} and {path} would both have the id {name!r} in the submission; an id is of one file: "
                "rename one of them, or leave it out"
            )
    return ids


def _name(trained: Trained, probabilities: F64) -> str:
    return trained.facts.data.classes[int(probabilities.argmax())]


def _probabilities(trained: Trained, inputs: Inputs, chunks: Iterator[U8]) -> F64:
    """(n, classes)."""
    found = []
    for images in chunks:
        logits = trained.model.logits(trained.params, trained.buffers, np.ascontiguousarray(inputs.seen(images)))
        found.append(loss.probabilities(logits))
    return np.concatenate(found)


def _chunks(images: U8) -> Iterator[U8]:
    for at in range(0, len(images), _BATCH):
        yield images[at : at + _BATCH]


def _read(paths: Sequence[Path], inputs: Inputs, read: Read) -> Iterator[U8]:
    for at in range(0, len(paths), _BATCH):
        yield np.concatenate([read(path, inputs.shape) for path in paths[at : at + _BATCH]])
