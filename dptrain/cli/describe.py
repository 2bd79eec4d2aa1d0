"""`dptrain describe`: the network a configuration stands for, layer by layer."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.flags import Recipe, takes_settings, texts
from dptrain.errors import UsageError
from dptrain.recipefile import gather
from dptrain.settings import ModelConfig, build, check

MODEL_FIELDS = (*(f.name for f in fields(ModelConfig)), "networks")
IMAGE = "what comes in, HEIGHTxWIDTHxCHANNELS"


@takes_settings("dataset", "augment", *MODEL_FIELDS, "data_dir")
def describe(
    *,
    recipe: Recipe = "",
    image: Annotated[str, Parameter(help=f"{IMAGE} [of the data set, else 32x32x3]")] = "",
    classes: Annotated[int | None, Parameter(help="what is told apart [of the data set, else 10]")] = None,
    **flags: str | bool,
) -> int:
    """Print the layers of a network: what goes in and out, and how many parameters each has."""
    shape = parse_image(image) if image else None
    if classes is not None and not 2 <= classes <= 1_000_000:
        raise UsageError(f"--classes {classes}: must be a whole number from 2 to 1000000")
    given = gather(recipe, os.environ, texts(flags))
    config = build(given.values)
    check(config)
    from dptrain.api.inputs import form_of  # imports Numba
    from dptrain.data.descriptor import Form
    from dptrain.nn import ImageShape, build_network
    from dptrain.nn import describe as lines

    form, origin = Form(32, 32, 3, 10), "" if shape or classes else "; --recipe or --dataset: those of a data set"
    if "dataset" in given.values and not (shape and classes):
        form = form_of(config.data, config.deployment.data_dir)
        origin = "" if shape or classes else f", as of {config.data.dataset}"
    shape, classes = shape or form[:3], classes or form.classes
    print(f"for images of {'x'.join(map(str, shape))} and {classes} classes{origin}")
    network = build_network(config.model, ImageShape(*shape), classes, config.deployment.networks)
    for line in lines.table(lines.describe(network)):
        print(line)
    return 0


def parse_image(text: str) -> tuple[int, int, int]:
    """As in "32x32x3" -> (32, 32, 3). Raises UsageError."""
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if not found:
        raise UsageError(f"--image {text}: must be HEIGHTxWIDTHxCHANNELS, for example 32x32x3")
    height, width, channels = map(int, found.groups())
    return height, width, channels
