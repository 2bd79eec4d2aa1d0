"""`dptrain explain`, `dptrain plot` and `dptrain report`: pictures of trained networks and of their training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from dptrain.api.curves import draw
from dptrain.api.fooling import Fooling
from dptrain.cli.flags import takes_settings, use_deployment
from dptrain.cli.output import checked, save, write
from dptrain.errors import UsageError
from dptrain.runs.directory import stored_config

if TYPE_CHECKING:
    from dptrain.api.pictures import Explained

explain = App(
    name="explain",
    help="Pictures of a trained network: filters, mistakes, confusion, saliency, fooling images.",
    help_format="plaintext",
    result_action="return_value",
)

Checkpoint = Annotated[Path, Parameter(help="run directory, or .safetensors file")]
SplitName = Annotated[Literal["test", "validation", "train"], Parameter(help="images to look at")]
Count = Annotated[int, Parameter(help="images shown, 1 or more")]
Out = Annotated[Path, Parameter(["--out", "-o"], help="file, .png or .svg")]


@explain.command
def filters(weights: Checkpoint, /, *, out: Out = Path("filters.png")) -> int:
    """Draw the filters of the first convolution. Also accepts a model.npy of PyFunt."""
    out = checked(out)
    from dptrain.api import pictures

    save(pictures.filters(weights), out)
    return 0


@explain.command
@takes_settings("data_dir", "isa", "networks")
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
    out, explained = checked(out), _opened(checkpoint, flags)
    from dptrain.api import pictures

    drawn = pictures.misclassified(explained, split, count)
    if drawn is None:
        images = len(explained.scores(split).labels)
        sys.stdout.write(f"nothing to draw: all {images:,} {split} images are classified right\n")
        return 0
    save(drawn, out)
    return 0


@explain.command
@takes_settings("data_dir", "isa", "networks")
def confusion(
    checkpoint: Checkpoint,
    /,
    *,
    out: Out = Path("confusion.png"),
    split: SplitName = "test",
    table: Annotated[Literal["text", "markdown", "csv"], Parameter(help="format of the table of classes")] = "text",
    **flags: str | bool,
) -> int:
    """Draw the confusion matrix, and print accuracy, precision and the most common mistake of each class."""
    out, explained = checked(out), _opened(checkpoint, flags)
    from dptrain.api import pictures

    drawn, classes = pictures.confusion(explained, split)
    save(drawn, out)
    sys.stdout.write(classes.write(table))
    return 0


@explain.command
@takes_settings("data_dir", "isa", "networks")
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
    """Draw the pixels on which the score of the true class depends (gradient and SmoothGrad), of images that are
    classified right.
    """
    out, explained = checked(out), _opened(checkpoint, flags)
    from dptrain.api import pictures

    drawn = pictures.saliency(explained, split, count, of)
    if drawn is None:
        raise UsageError(f"no {split} image{f' of class {of}' if of else ''} is classified right: nothing to explain")
    save(drawn, out)
    return 0


@explain.command
@takes_settings("data_dir", "isa", "networks")
def fool(  # noqa: PLR0913  # its flags
    checkpoint: Checkpoint,
    /,
    *,
    out: Out = Path("fooled.png"),
    split: SplitName = "test",
    target: Annotated[str, Parameter(help="class to be taken for, by name or number [the next class]")] = "",
    start: Annotated[Literal["image", "noise"], Parameter(help="what to start from")] = "image",
    confidence: Annotated[float, Parameter(help="probability of the target that is enough")] = 0.9,
    step: Annotated[float, Parameter(help="how far the fastest pixel moves per step, of 255")] = 1.0,
    pull: Annotated[
        float, Parameter(help="lambda of lambda/2 |x - start|^2, which pulls the image back to its start")
    ] = 0.0,
    cap: Annotated[int, Parameter(help="steps after which an image counts as failed")] = 200,
    count: Annotated[int, Parameter(help="images to try, for the success rate")] = 50,
    show: Annotated[int, Parameter(help="images to draw")] = 4,
    seed: Annotated[int, Parameter(help="random seed of the noise")] = 0,
    **flags: str | bool,
) -> int:
    """Change images, or noise, until the network takes them for another class; print how often that succeeds."""
    asked = Fooling(target, start, confidence, step, pull, cap, count, show, seed)
    out, explained = checked(out), _opened(checkpoint, flags)
    from dptrain.api import pictures

    sys.stderr.write(f"changing {asked.count} images, at most {asked.cap} steps each, until the network is fooled\n")
    drawn, verdict = pictures.fooled(explained, split, asked)
    save(drawn, out)
    sys.stdout.write(f"{verdict}\n")
    return 0


def plot(
    *runs: Annotated[Path, Parameter(help="run directories, or folders with CSV histories of PyFunt", required=True)],
    out: Out = Path("curves.png"),
    smooth: Annotated[
        int | None, Parameter(help="steps the loss is averaged over [a fiftieth of them, at least 10]")
    ] = None,
) -> int:
    """Draw loss by step and error by epoch, of one run or of several in the same picture."""
    if smooth is not None and smooth < 1:
        raise UsageError(f"smooth = {smooth}: must be 1 or more")
    out = checked(out)
    save(draw(runs, smooth), out)
    return 0


@takes_settings("data_dir", "isa", "networks")
def report(
    run: Annotated[Path, Parameter(help="run directory")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="file [RUN/report.html]")] = None,
    split: Annotated[Literal["test", "validation"], Parameter(help="images to look at")] = "test",
    **flags: str | bool,
) -> int:
    """Write one self-contained HTML file: result, curves, confusion, mistakes, saliency, fooling, filters, settings."""
    file = out or run / "report.html"
    if file.suffix.lower() not in (".html", ".htm") or file.is_dir():
        raise UsageError(f"{file}: the report is one .html file")
    stored_config(run)  # raises RunDirectoryError where this is no run directory
    explained = _opened(run, flags)
    sys.stderr.write(f"scoring the {split} images, fooling the network, drawing; this takes a moment\n")
    from dptrain.api.report import report as page  # imports Numba

    write(file, page(run, explained, split))
    sys.stdout.write(f"{file}\n")
    return 0


def _opened(checkpoint: Path, flags: Mapping[str, str | bool]) -> Explained:
    """The checkpoint and its data, with the flags that every picture has."""
    deployment = use_deployment(flags)
    from dptrain.explain.drawing import looks

    with looks():  # without matplotlib: an error now, not after the network is scored
        from dptrain.api.pictures import open_explained  # imports Numba: only now is the ISA known
        from dptrain.api.trained import load_trained
    return open_explained(load_trained(checkpoint, deployment.networks), deployment.data_dir, deployment.networks)
