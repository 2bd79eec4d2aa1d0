"""The functions of `import dptrain`: train, load a data set, build and describe a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dptrain.api.callbacks import Callbacks, OnEpoch, OnStep
from dptrain.api.given import Parts, names_recipe, store
from dptrain.api.plan import Keyword, in_python, plan, refuse_unused_address, texts
from dptrain.api.run import Run
from dptrain.api.session import train
from dptrain.data.arrays import Reading
from dptrain.data.catalog import data_home, open_dataset
from dptrain.data.dataset import Dataset
from dptrain.errors import DivergedError, DptrainError, TrainingError, UsageError
from dptrain.kernels import isa
from dptrain.nn import ImageShape, describe
from dptrain.nn import build_network as network_of
from dptrain.nn.network import Network
from dptrain.processes.stopping import Interrupted, Preparation
from dptrain.recipefile import THIS_CALL, gather
from dptrain.runs.condition import diverged
from dptrain.settings import SETTINGS, build, check

#: Keywords of `fit` that belong to given images.
_OF_IMAGES = ("recipe", "test", "class_names", "pixel_range", "layout", "validation")


@in_python()
def fit(
    data: object = "",
    labels: object = None,
    /,
    *,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    **settings: object,
) -> Run:
    """Trains like `dptrain train --recipe RECIPE` with the settings as flags (`batch_size=64` is `--batch-size 64`).

    Returns the run. Progress goes to stdout; `log_format="quiet"` turns it off. `start` takes a Run, too; `lr_scale`
    takes a dict.

    `fit("RECIPE")` takes a recipe. `fit(x, y)` takes images and labels: arrays, an object with `__len__` and
    `__getitem__` -> (image, label) and no `y`, or what `load_data` returns. They are stored in the data folder, and
    named by their SHA-256. With images, these keywords are allowed as well:

    - `recipe`: a recipe.
    - `test=(x, y)`: the test images; without it, a tenth is held out.
    - `validation=(x, y)`, or a share such as 0.1, or a number of images.
    - `class_names`: a text per class; without it "0", "1", ...
    - `pixel_range=(black, white)`: of images that are not uint8 from 0 to 255, such as (0, 1).
    - `layout`: "nhwc" or "nchw", where 1 or 3 channels do not tell.

    on_epoch, on_step: functions that are called in this process after each epoch (with an EpochRecord) and each step
    (with a StepRecord). If one returns `dptrain.STOP`, the training ends with a checkpoint, and `fit` returns the run.
    No step is made while one works; what it raises ends the training without a further checkpoint.

    Ctrl-C (or SIGTERM, SIGHUP) ends the training between two steps, writes a checkpoint and raises KeyboardInterrupt;
    the same call with `name=NAME, resume="auto"` resumes it. In a thread other than the main one, `fit` leaves signals
    to the caller. Raises UsageError or DataError before anything is trained, DivergedError if the loss is not finite,
    TrainingError if the workers failed.
    """
    callbacks = _callbacks(on_epoch, on_step)
    chosen = plan(*_recipe_and_settings(data, labels, settings), caller=THIS_CALL)
    refuse_unused_address(chosen)
    if chosen.config.deployment.isa not in ("auto", isa.level()):
        raise UsageError(
            f"isa = {chosen.config.deployment.isa!r}, but the kernels of this process are for {isa.level()!r} already: "
            "set DPTRAIN_ISA before the first use of dptrain"
        )
    preparation = Preparation()
    try:
        finished = train(chosen, preparation, launch=True, callbacks=callbacks)
    except Interrupted as interrupted:
        raise KeyboardInterrupt from interrupted
    if finished.failure:
        wild = finished.code == DivergedError.exit_code and diverged(finished.path)
        error: DptrainError = (DivergedError if wild else TrainingError)(finished.failure)
        error.exit_code = finished.code
        raise error
    if finished.code:
        raise KeyboardInterrupt
    deployment = chosen.config.deployment
    return Run(finished.path, data_dir=deployment.data_dir, networks=deployment.networks)


def _callbacks(on_epoch: OnEpoch | None, on_step: OnStep | None) -> Callbacks | None:
    """Raises UsageError for what cannot be called."""
    given = {"on_epoch": on_epoch, "on_step": on_step}
    for name, function in given.items():
        if function is not None and not callable(function):
            raise UsageError(f"{name} = {function!r}: must be a function of one record, or None for no function")
    return Callbacks(on_epoch, on_step) if any(function is not None for function in given.values()) else None


def _recipe_and_settings(
    data: object, labels: object, keywords: dict[str, object]
) -> tuple[str, Mapping[str, str], dict[str, str]]:
    """The recipe, the environment, and the settings as text; given images are stored and become the setting dataset."""
    if positional := [name for name in ("x", "y", "labels") if name in keywords]:
        raise UsageError(f"{positional[0]} is given by its place and without a name: fit(x, y)")
    if names_recipe(data) and labels is None:
        for name in _OF_IMAGES[:-1]:
            if name in keywords:
                raise UsageError(f"{name} goes with images: fit(x, y, {name}=...)")
        return str(data), os.environ, texts(keywords)
    given: dict[str, Any] = {name: keywords.pop(name) for name in _OF_IMAGES if name in keywords}
    if "dataset" in keywords:
        raise UsageError(f"dataset = {keywords['dataset']!r}: images are given already")
    recipe, settings = str(given.pop("recipe", None) or ""), texts(keywords)
    home = data_home(build(gather("", os.environ, settings, caller=THIS_CALL).values).deployment.data_dir)
    reading = Reading(given.pop("pixel_range", None), given.pop("layout", None) or "")
    return recipe, os.environ, settings | store(Parts(data, labels, reading=reading, **given), home)


@in_python()
def load_data(name: str, data_dir: str = "") -> Dataset:
    """Opens a data set by its name, as `--dataset` does: `fashion-mini`, `cifar100:coarse`, `folder:./pictures`.

    Raises UsageError for an unknown name or option, DataError if files are missing or damaged.
    """
    return open_dataset(name, data_dir)


@in_python()
def build_network(*, image: tuple[int, int, int], classes: int, **settings: Keyword) -> Network:
    """Builds a network for images of (height, width, channels). Settings: those of [model] and `networks`, as in `fit`.

    Raises UsageError for an impossible network. `fit` builds its own network from the same settings.
    """
    for name in settings:
        if name in SETTINGS and SETTINGS[name].section != "model" and name != "networks":
            raise UsageError(f"{name} = {settings[name]!r} is no setting of a network: leave it to `fit`")
    config = build(gather("", {}, texts(settings), caller=THIS_CALL).values)
    check(config)
    return network_of(config.model, _shape(image), classes, config.deployment.networks)


def _shape(image: object) -> ImageShape:
    match image:
        case [int(height), int(width), int(channels)] if min(height, width, channels) > 0:
            return ImageShape(height, width, channels)
    raise UsageError(f"image = {image!r}: must be (height, width, channels), such as (28, 28, 1)")


def describe_network(network: Network) -> str:
    """One line per layer: shapes of input and output, and the number of parameters; then their sum."""
    return "\n".join(describe.table(describe.describe(network)))
