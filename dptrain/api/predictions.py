"""Predictions for image files: the most probable classes, or the CSV file that Kaggle accepts.

test.csv of pixels (digit-recognizer)      ImageId,Label            counted from 1
photographs, for a run on sfddd            img,c0,...,c9            probabilities
image files, for any other run             id,label                 id: the file's name without suffix
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.api.inputs import Inputs, inputs_of
from dptrain.api.trained import Trained
from dptrain.data.datasets.mnist_kaggle import read_pixels
from dptrain.data.walk import walk
from dptrain.errors import DataError, UsageError
from dptrain.kernels import loss
from dptrain.types import F64, U8

_BATCH = 256  #: images scored at once
_log = logging.getLogger(__name__)


def image_files(targets: Sequence[Path]) -> Iterator[Path]:
    """Files as given; of directories every picture that the walk finds, in order of names. Raises DataError.

    Logs what the walk leaves out.
    """
    for target in targets:
        if not target.is_dir():
            yield target
            continue
        found = walk(target)
        if summary := found.summary(target):
            _log.warning("%s", summary)
        if not found.pictures:
            raise DataError(f"{target} holds no image file")
        yield from found.pictures


def most_probable(trained: Trained, inputs: Inputs, path: Path, count: int) -> list[tuple[str, float]]:
    """(class, probability) of an image file, the most probable first; of equals the lower class first.

    Raises DataError for a file that is no image.
    """
    [probabilities] = _probabilities(trained, inputs, iter([inputs.read([path])]))
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(trained.facts.data.classes[i], float(probabilities[i])) for i in order]


class Submission(NamedTuple):
    """A table for Kaggle."""

    heads: list[str]
    rows: list[list[str]]

    def csv(self) -> str:
        """The content of the file."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.heads, *self.rows])
        return text.getvalue()


def submission(trained: Trained, targets: Sequence[Path]) -> Submission:
    """Predictions for all images of a table of pixels, or of image files and directories of them.

    Raises DataError where a file is no image, UsageError where tables and images are mixed or two ids are equal.
    """
    inputs = inputs_of(trained.facts)
    tables = [path for path in targets if path.suffix.lower() == ".csv"]
    if tables and len(targets) > 1:
        raise UsageError(f"a submission is made from one table of pixels ({tables[0]}), or from image files; not both")
    if tables:
        chunks = _chunks(read_pixels(tables[0], inputs.shape))
        found = enumerate(_probabilities(trained, inputs, chunks), 1)
        return Submission(["ImageId", "Label"], [[str(number), _name(trained, p)] for number, p in found])
    files = list(image_files(targets))
    drivers = trained.facts.config.data.dataset.split(":")[0] == "sfddd"
    ids = _ids(files, [path.name if drivers else path.stem for path in files])
    chunks = (inputs.read(files[at : at + _BATCH]) for at in range(0, len(files), _BATCH))
    odds = _probabilities(trained, inputs, chunks)
    if drivers:
        heads = ["img", *(f"c{number}" for number in range(len(trained.facts.data.classes)))]
        return Submission(heads, [[name, *(f"{p:.6f}" for p in ps)] for name, ps in zip(ids, odds, strict=True)])
    return Submission(["id", "label"], [[name, _name(trained, ps)] for name, ps in zip(ids, odds, strict=True)])


def _ids(paths: Sequence[Path], ids: list[str]) -> list[str]:
    """`ids`, one per path. Raises UsageError where two are equal."""
    first: dict[str, Path] = {}
    for path, name in zip(paths, ids, strict=True):
        if not name.isascii() and not _is_text(name):
            raise UsageError(f"{str(path)!r}: the submission names images in UTF-8, which this name is not: rename it")
        if first.setdefault(name, path) is not path:
            raise UsageError(
                f"{first[name]} and {path} would both have the id {name!r} in the submission, which must be unique: "
                "rename one of them, or leave it out"
            )
    return ids


def _is_text(name: str) -> bool:
    """Whether a name of a file can be written as UTF-8; Python marks other bytes by surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


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
