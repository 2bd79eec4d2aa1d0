"""`dptrain explain`: what a trained network looks at and gets wrong, from a checkpoint. A subcommand a picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from cyclopts import App, Parameter

from dptrain.cli.flags import takes_config, texts
from dptrain.cli.foolingflags import Fooling
from dptrain.cli.picture import checked, save
from dptrain.configfile import resolve
from dptrain.errors import UsageError

if TYPE_CHECKING:
    from dptrain.cli.explaining import Explained
    from dptrain.types import F32

explain = App(
    name="explain",
    help="Pictures of a trained network: filters, mistakes, confusion, saliency, fooling images.",
    help_format="plaintext",
    result_action="return_value",
)

Checkpoint = Annotated[Path, Parameter(help="run directory, or .safetensors file")]
SplitName = Annotated[Literal["test", "validation", "train"], Parameter(help="samples to look at")]
Count = Annotated[int, Parameter(help="images shown")]


Out = Annotated[Path, Parameter(["--out", "-o"], help="file, .png or .svg")]


@explain.command
def filters(weights: Checkpoint, /, *, out: Out = Path("filters.png")) -> int:
    """Draw the filters of the first convolution; also of a model.npy of PyFunt."""
    out = checked(out)
    title, array = first_layer(weights)
    from dptrain.analysis.filters import draw_filters

    save(draw_filters(array, title), out)
    return 0


@explain.command
@takes_config("data_dir", "isa", "networks")
def misclassified(
    checkpoint: Checkpoint,
    /,
    *,
    out: Out = Path("misclassified.png"),
    split: SplitName = "test",
    count: Count = 40,
    **flags: str | bool,
) -> int:
    """Draw the most certain mistakes: truth upper left, guess lower left, second guess lower right."""
    out, explained = checked(out), opened(checkpoint, flags)
    from dptrain.analysis import misclassified as mistakes

    scores = explained.scores(split)
    wrong = len(scores.wrong())
    if not wrong:
        sys.stdout.write(f"nothing to draw: all {len(scores.labels):,} {split} samples are classified right\n")
        return 0
    title = f"{wrong:,} of {len(scores.labels):,} {split} images are wrong; the {min(count, wrong)} most certain"
    images = mistakes.images_of(explained.images(split), scores, count)
    save(mistakes.draw_misclassified(images, mistakes.pick(scores, count), explained.classes, title), out)
    return 0


@explain.command
@takes_config("data_dir", "isa", "networks")
def confusion(
    checkpoint: Checkpoint,
    /,
    *,
    out: Out = Path("confusion.png"),
    split: SplitName = "test",
    table: Annotated[Literal["text", "markdown", "csv"], Parameter(help="form of the table of classes")] = "text",
    **flags: str | bool,
) -> int:
    """Draw the confusion matrix, and print accuracy, precision and the commonest mistake class by class."""
    out, explained = checked(out), opened(checkpoint, flags)
    from dptrain.analysis.confusion import class_table, confusion_matrix, draw_confusion

    scores = explained.scores(split)
    matrix = confusion_matrix(scores.labels, scores.guesses, len(explained.classes))
    accuracy = float(np.trace(matrix)) / len(scores.labels)
    save(draw_confusion(matrix, explained.classes, f"{split}: accuracy {accuracy:.4f}"), out)
    sys.stdout.write(class_table(matrix, explained.classes).write(table))
    return 0


@explain.command
@takes_config("data_dir", "isa", "networks")
def saliency(
    checkpoint: Checkpoint,
    /,
    *,
    out: Out = Path("saliency.png"),
    split: SplitName = "test",
    count: Count = 6,
    of: Annotated[str, Parameter(help="only images of this class, by name or number")] = "",
    **flags: str | bool,
) -> int:
    """Draw which pixels the score of the true class depends on (gradient, SmoothGrad), of images classified right."""
    out, explained = checked(out), opened(checkpoint, flags)
    from dptrain.analysis.saliency import draw_saliency, gradient, smooth_gradient
    from dptrain.cli.explaining import classified_right

    scores = explained.scores(split)
    chosen = classified_right(explained, scores, of)[:count]
    if not len(chosen):
        raise UsageError(f"no {split} image{f' of class {of}' if of else ''} is classified right: nothing to explain")
    images, labels = explained.images(split)[chosen], scores.labels[chosen]
    maps = [
        ("gradient", gradient(explained.network, images, labels)),
        ("SmoothGrad", smooth_gradient(explained.network, images, labels)),
    ]
    save(draw_saliency(images, maps, [explained.classes[int(label)] for label in labels]), out)
    return 0


@explain.command
@takes_config("data_dir", "isa", "networks")
def fool(
    checkpoint: Checkpoint,
    /,
    *,
    out: Out = Path("fooled.png"),
    split: SplitName = "test",
    options: Annotated[Fooling | None, Parameter(name="*")] = None,
    **flags: str | bool,
) -> int:
    """Change images, or noise, until the network takes them for another class; tell how often that succeeds."""
    out, explained = checked(out), opened(checkpoint, flags)
    from dptrain.analysis.fooling import draw_fooled
    from dptrain.cli.explaining import fooled_images

    asked = options or Fooling()
    tried = fooled_images(explained, split, asked)
    shown = tried.first(asked.show)
    save(draw_fooled(shown.fooled, shown.before, shown.after), out)
    sys.stdout.write(f"{tried.verdict(asked)}\n")
    return 0


def opened(checkpoint: Path, flags: Mapping[str, str | bool]) -> Explained:
    """Reads the flags every picture has, then the checkpoint and its data."""
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    from dptrain.cli.explaining import open_explained  # imports Numba: only now is the ISA known

    return open_explained(checkpoint, deployment.data_dir, deployment.networks)


def first_layer(weights: Path) -> tuple[str, F32]:
    """A title, and the first convolution's weights (k, c, r, s), of a checkpoint or of PyFunt's model.npy."""
    if weights.suffix == ".npy":
        from dptrain.run.pyfuntmodel import read_pyfunt

        found = read_pyfunt(weights)
        if "W1" not in found or found["W1"].ndim != 4:
            raise UsageError(f"{weights} has no W1 of four dimensions: no first convolution to draw")
        return f"first layer of {weights.name} (PyFunt)", found["W1"].astype(np.float32)
    from dptrain.run.checkpoint import load
    from dptrain.run.shelf import find

    checkpoint = load(find(weights))
    four = [name for name, array in checkpoint.tensors.items() if name.startswith("model.") and array.ndim == 4]
    name = "model.conv1.weight" if "model.conv1.weight" in four else next(iter(four), "")
    if not name:
        raise UsageError(f"{checkpoint.path}: the network has no convolution")
    title = f"{name.removeprefix('model.')}, {checkpoint.facts.model}, step {checkpoint.step:,}"
    return title, checkpoint.tensors[name]
