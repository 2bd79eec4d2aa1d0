"""`dptrain describe`: the network a configuration stands for, layer by layer."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.flags import takes_config, texts
from dptrain.config import ModelConfig
from dptrain.configfile import resolve
from dptrain.errors import UsageError

MODEL_FIELDS = (*(f.name for f in fields(ModelConfig)), "networks")
IMAGE = "what comes in, HEIGHTxWIDTHxCHANNELS"


@takes_config(*MODEL_FIELDS)
def describe(
    *,
    recipe: Annotated[str, Parameter(["--recipe", "--config", "-c"], help="TOML file, or name of a shipped one")] = "",
    image: Annotated[str, Parameter(help=IMAGE)] = "32x32x3",
    classes: Annotated[int, Parameter(help="what is told apart")] = 10,
    **flags: str | bool,
) -> int:
    """Print the layers of a network: what goes in and out, and how many parameters each has."""
    shape = parse_image(image)
    if not 2 <= classes <= 1_000_000:
        raise UsageError(f"--classes {classes}: must be a whole number from 2 to 1000000")
    config = resolve(recipe, os.environ, texts(flags))
    from dptrain.nn import ImageShape, build_network  # imports Numba
    from dptrain.nn import describe as lines

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
