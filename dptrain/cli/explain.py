"""`dptrain explain`: what a trained network looks at and gets wrong, from a checkpoint. A subcommand a picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from dptrain.api.fooling import Fooling
from dptrain.cli.flags import takes_settings, texts
from dptrain.cli.picture import checked, save
from dptrain.errors import UsageError
from dptrain.recipefile import resolve

if TYPE_CHECKING:
    from dptrain.api.pictures import Explained

explain = App(
    name="explain",
    help="Pictures of a trained network: filters, mistakes, confusion, saliency, fooling images.",
    help_format="plaintext",
    result_action="return_value",
)

Checkpoint = Annotated[Path, Parameter(help="run directory, or .safetensors file")]
SplitName = Annotated[Literal["test", "validation", "train"], Parameter(help="samples to look at")]
Count = Annotated[int, Parameter(help="images shown, 1 or more")]


Out = Annotated[Path, Parameter(["--out", "-o"], help="file, .png or .svg")]


@explain.command
def filters(weights: Checkpoint, /, *, out: Out = Path("filters.png")) -> int:
    """Draw the filters of the first convolution; also of a model.npy of PyFunt."""
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
    out, explained = checked(out), opened(checkpoint, flags)
    from dptrain.api import pictures

    drawn = pictures.misclassified(explained, split, count)
    if drawn is None:
        samples = len(explained.scores(split).labels)
        sys.stdout.write(f"nothing to draw: all {samples:,} {split} samples are classified right\n")
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
    table: Annotated[Literal["text", "markdown", "csv"], Parameter(help="form of the table of classes")] = "text",
    **flags: str | bool,
) -> int:
    """Draw the confusion matrix, and print accuracy, precision and the commonest mistake class by class."""
    out, explained = checked(out), opened(checkpoint, flags)
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
    """Draw which pixels the score of the true class depends on (gradient, SmoothGrad), of images classified right."""
    out, explained = checked(out), opened(checkpoint, flags)
    from dptrain.api import pictures

    drawn = pictures.saliency(explained, split, count, of)
    if drawn is None:
        raise UsageError(f"no {split} image{f' of class {of}' if of else ''} is classified right: nothing to explain")
    save(drawn, out)
    return 0


@explain.command
@takes_settings("data_dir", "isa", "networks")
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
    from dptrain.api import pictures

    asked = options or Fooling()
    sys.stderr.write(f"changing {asked.count} images, {asked.cap} steps at most, until the network is fooled\n")
    drawn, verdict = pictures.fooled(explained, split, asked)
    save(drawn, out)
    sys.stdout.write(f"{verdict}\n")
    return 0


def opened(checkpoint: Path, flags: Mapping[str, str | bool]) -> Explained:
    """Reads the flags every picture has, then the checkpoint and its data."""
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    from dptrain.api.pictures import open_explained  # imports Numba: only now is the ISA known
    from dptrain.api.trained import load_trained  # the same

    return open_explained(load_trained(checkpoint, deployment.networks), deployment.data_dir, deployment.networks)
