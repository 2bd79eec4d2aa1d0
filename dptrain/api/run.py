"""A run, or a checkpoint file, as an object: its results, and the methods that score, predict and draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from dptrain.api.export import export
from dptrain.api.fooling import Fooling
from dptrain.api.inputs import inputs_of
from dptrain.api.pictures import Explained, open_explained
from dptrain.api.plan import in_python
from dptrain.api.trained import Score, Trained, load_trained, score
from dptrain.errors import DataError, RunDirectoryError, UsageError
from dptrain.kernels import loss
from dptrain.runs.metrics import Record, read
from dptrain.runs.shelf import find
from dptrain.settings import Config
from dptrain.types import F64, U8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SplitName: TypeAlias = Literal["test", "validation", "train"]
PictureName: TypeAlias = Literal["curves", "confusion", "misclassified", "saliency", "fooled", "filters"]


class Run:
    """The best (else the last) weights of a run directory, or those of a .safetensors file. Files are read when they
    are first needed, and kept.
    """

    def __init__(self, path: Path | str, *, data_dir: str = "", networks: str | Sequence[str] = ()) -> None:
        """`networks`: Python files whose networks may be run here. Raises CheckpointError if there is no checkpoint."""
        find(Path(path))
        self.path = Path(path)
        self._data_dir = data_dir
        self._networks = (networks,) if isinstance(networks, str) else tuple(networks)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __fspath__(self) -> str:
        """So that `fit(start=run)` and `open` of its files work."""
        return str(self.path)

    @property
    def config(self) -> Config:
        """Every setting of the training."""
        return self._trained.facts.config

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by number."""
        return self._trained.facts.data.classes

    @property
    def history(self) -> list[Record]:
        """The records of metrics.jsonl, one dict per step, epoch and evaluation. RunDirectoryError for a checkpoint."""
        if not self.path.is_dir():
            raise RunDirectoryError(f"{self.path} is a checkpoint; its run directory has the history")
        return read(self.path / "metrics.jsonl")

    @property
    def test_accuracy(self) -> float | None:
        """Accuracy on the test split, measured at the end of the training; None: the training is not complete."""
        return next((float(r["test/acc"]) for r in reversed(self.history) if "test/acc" in r), None)

    @in_python()
    def evaluate(self, split: SplitName = "test", *, five: bool = False) -> Score:
        """Loss and accuracies on a split of the data set of the training; `five`: over five crops of each image.

        Raises DataError if the data set is not here, differs, or has no such split.
        """
        return score(self._trained, self._explained.source, split, five=five, watch=lambda *_: None)

    @in_python()
    def probabilities(self, images: U8 | Path | str | Iterable[Path | str]) -> F64:
        """(n, classes): the probability of each class. Does not need the data set.

        `images`: (n, h, w, c) uint8 of the size of the data set's images, or one or several image files of any size.
        Raises DataError for a file that is not an image, and for an array of another shape.
        """
        trained = self._trained
        inputs = inputs_of(trained.facts)
        if not isinstance(images, np.ndarray):
            images = inputs.read(_paths(images))
        elif images.dtype != np.uint8 or images.shape[1:] != inputs.shape:
            raise DataError(
                f"images of shape {images.shape}, {images.dtype}: (n, {', '.join(map(str, inputs.shape))}) of uint8 "
                "is needed"
            )
        seen = np.ascontiguousarray(inputs.seen(images))
        return loss.probabilities(trained.model.logits(trained.params, trained.buffers, seen))

    def predict(self, images: U8 | Path | str | Iterable[Path | str]) -> list[str]:
        """The name of the most probable class of each image; for equal probabilities, the first class."""
        return [self.classes[int(i)] for i in np.argmax(self.probabilities(images), axis=1)]

    @in_python()
    def picture(self, what: PictureName, *, split: SplitName = "test", count: int = 6) -> Figure:
        """A matplotlib figure. `count`: images shown. Raises UsageError if there is nothing to draw."""
        from dptrain.api import curves, pictures

        drawn: Figure | None
        match what:
            case "curves":
                drawn = curves.draw([self.path])
            case "filters":
                drawn = pictures.filters(self.path)
            case "confusion":
                drawn = pictures.confusion(self._explained, split)[0]
            case "misclassified":
                drawn = pictures.misclassified(self._explained, split, count)
            case "saliency":
                drawn = pictures.saliency(self._explained, split, count)
            case "fooled":
                drawn = pictures.fooled(self._explained, split, Fooling(count=count, show=count))[0]
            case _:
                raise UsageError(f"there is no picture {what!r}: there are {', '.join(PictureName.__args__)}")
        if drawn is None:
            raise UsageError(f"{what}: no {split} image of {self.path} is of that kind")
        return drawn

    @in_python()
    def export(self, file: Path | str, *, inputs: str = "") -> Path:
        """Writes the weights for other programs: FILE.onnx, FILE.pt or FILE.safetensors, and a model card, FILE.md.

        `inputs`: what an ONNX file takes: "uint8" (the default), pixels (n, h, w, c); or "normalised", float32
        (n, c, h, w). Raises UsageError for another kind of file, and for a layer that ONNX does not know.
        """
        return export(self.path, Path(file), self._networks, inputs=inputs).path

    @cached_property
    def _trained(self) -> Trained:
        return load_trained(self.path, self._networks)

    @cached_property
    def _explained(self) -> Explained:
        return open_explained(self._trained, self._data_dir, self._networks)


def _paths(images: object) -> list[Path]:
    """The paths of image files. Raises DataError for other values."""
    paths = []
    for file in images if isinstance(images, Iterable) and not isinstance(images, str | bytes) else [images]:
        if not isinstance(file, str | Path):
            raise DataError(
                f"{type(file).__name__}: images are one array of uint8, (n, height, width, channels), or paths of files"
            )
        paths.append(Path(file))
    return paths
