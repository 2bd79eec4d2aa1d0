"""`dptrain gradcheck`: every layer, every criterion and a whole network against differences, in float64."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli.describe import IMAGE, MODEL_FIELDS, parse_image
from dptrain.cli.flags import Recipe, takes_settings, texts
from dptrain.errors import ExitCode
from dptrain.recipefile import resolve

_CLASSES, _SAMPLES = 5, 4


@takes_settings(*MODEL_FIELDS)
def gradcheck(
    *,
    recipe: Recipe = "",
    image: Annotated[str, Parameter(help=IMAGE)] = "8x8x3",
    **flags: str | bool,
) -> int:
    """Check the gradients of every layer, every criterion, and of the network the flags describe. Exit 0: all right."""
    shape = parse_image(image)
    config = resolve(recipe, os.environ, texts(flags))
    from dptrain.nn import ImageShape, build_network  # imports Numba
    from dptrain.nn.criterion import make_criterion
    from dptrain.nn.gradcheck import TOLERANCE, check_network, draws

    model = config.model
    network = build_network(model, ImageShape(*shape), _CLASSES, config.deployment.networks)
    criterion = make_criterion(model.criterion, model.class_weights[:_CLASSES], _CLASSES)
    bad = 0
    print(f"largest relative error against central differences, float64; right is below {TOLERANCE:g}")
    for name, error in _library():
        bad += _say(name, error, TOLERANCE)
    labels = draws((_SAMPLES,)).argsort()  # four of the five classes, in some order
    error = check_network(network.network, draws((_SAMPLES, *shape)), labels, criterion)
    bad += _say(f"network {model.network}, {model.criterion}", error, TOLERANCE)
    print("all right" if not bad else f"{bad} wrong")
    return ExitCode.FAULT_FOUND if bad else ExitCode.DONE


def _library() -> Iterator[tuple[str, float]]:
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
