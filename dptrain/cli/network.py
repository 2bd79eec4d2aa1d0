"""`dptrain describe` and `dptrain gradcheck`: the network of a configuration, layer by layer, and its gradients."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.flags import Recipe, takes_settings, texts
from dptrain.errors import ExitCode, UsageError
from dptrain.recipefile import gather, resolve
from dptrain.settings import ModelConfig, build, check

MODEL = (*(f.name for f in fields(ModelConfig)), "networks")
IMAGE = "shape of an image, HEIGHTxWIDTHxCHANNELS"
_CLASSES, _SAMPLES = 5, 4  #: of the network whose gradients are checked


@takes_settings("dataset", "augment", *MODEL, "data_dir")
def describe(
    *,
    recipe: Recipe = "",
    image: Annotated[str, Parameter(help=f"{IMAGE} [that of the data set, else 32x32x3]")] = "",
    classes: Annotated[int | None, Parameter(help="number of classes [that of the data set, else 10]")] = None,
    plan: Annotated[
        bool, Parameter(negative=(), help="print the passes of the engine instead: what is fused and what is not")
    ] = False,
    **flags: str | bool,
) -> int:
    """Print the layers of a network: shapes of input and output, and the number of parameters."""
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
    if plan:
        from dptrain.engine import listing, plan_of
        from dptrain.nn import build as build_model

        standard = [0.0] * shape[2], [1.0] * shape[2]
        model = build_model(config.model, shape, classes, *standard, files=config.deployment.networks)
        said = listing(plan_of(model))
    else:
        network = build_network(config.model, ImageShape(*shape), classes, config.deployment.networks)
        said = lines.table(lines.describe(network))
    for line in said:
        print(line)
    return 0


@takes_settings(*MODEL)
def gradcheck(
    *,
    recipe: Recipe = "",
    image: Annotated[str, Parameter(help=IMAGE)] = "8x8x3",
    **flags: str | bool,
) -> int:
    """Check the gradients of every layer, every loss function and the network of the flags. Exit code 0: all right."""
    shape = parse_image(image)
    config = resolve(recipe, os.environ, texts(flags))
    from dptrain.nn import ImageShape, build_network  # imports Numba
    from dptrain.nn.criterion import make_criterion
    from dptrain.nn.gradcheck import TOLERANCE, check_network, draws

    model = config.model
    network = build_network(model, ImageShape(*shape), _CLASSES, config.deployment.networks)
    criterion = make_criterion(model.criterion, model.class_weights[:_CLASSES], _CLASSES, model.label_smoothing)
    bad = 0
    print(f"largest relative error against central differences, float64; right is below {TOLERANCE:g}")
    for name, error in _library():
        bad += _say(name, error, TOLERANCE)
    labels = draws((_SAMPLES,)).argsort()  # four of the five classes, in some order
    error = check_network(network.network, draws((_SAMPLES, *shape)), labels, criterion)
    bad += _say(f"network {model.network}, {model.criterion}", error, TOLERANCE)
    print("all right" if not bad else f"{bad} wrong")
    return ExitCode.FAULT_FOUND if bad else ExitCode.DONE


def parse_image(text: str) -> tuple[int, int, int]:
    """As in "32x32x3" -> (32, 32, 3). Raises UsageError."""
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if not found:
        raise UsageError(f"--image {text}: must be HEIGHTxWIDTHxCHANNELS, for example 32x32x3")
    height, width, channels = map(int, found.groups())
    return height, width, channels


def _library() -> Iterator[tuple[str, float]]:
    """The name and the error of every layer and every loss function."""
    from dptrain.nn.criterion import MEASURES, make_criterion
    from dptrain.nn.gradcheck import EXAMPLES, check_criterion, check_layer, draws

    for name, (layer, shape) in EXAMPLES.items():
        yield name, check_layer(layer, draws(shape))
    labels = draws((_CLASSES,)).argsort()
    for name in MEASURES:
        yield f"criterion {name}", check_criterion(make_criterion(name, (), _CLASSES), draws((5, 5)), labels)


def _say(name: str, error: float, tolerance: float) -> bool:
    wrong = not error < tolerance
    print(f"{'BAD' if wrong else 'ok '}  {error:8.1e}  {name}")
    return wrong
