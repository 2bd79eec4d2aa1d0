"""From a configuration to a network: a built-in one, or one from a Python file that this host may run.

Messages carry the name of a network, never a path. The files come from the command line of this process
(`--networks FILE.py`), so a coordinator cannot make a worker run code that the owner of the worker did not choose. The
SHA-256 of the file is part of the parameter layout and so of the run's identity: a worker with another version of the
file is refused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, cast

import numpy as np

from dptrain.errors import UsageError, nearest
from dptrain.model import ParamLayout
from dptrain.nn import classics
from dptrain.nn.activations import ReLU, Reshape
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.criterion import make_criterion
from dptrain.nn.initialise import initial_params
from dptrain.nn.layer import Layer, Run
from dptrain.nn.network import ImageShape, Network, NetworkModel
from dptrain.nn.norm import BatchNorm
from dptrain.nn.pooling import GlobalAverage, MaxPooling
from dptrain.nn.resnet import head, resnet
from dptrain.settings import ModelConfig
from dptrain.types import F32


def lenet(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """Twice: 5 x 5 convolution, ReLU, maximum of 2 x 2 (F, then 2F channels). Then hidden linear layers and scores.

    It uses filters, hidden, dropout and the initialisers of the configuration. Raises UsageError for tiny images.
    """
    if min(image.height, image.width) < 4:
        raise UsageError(f"images of {image.height}x{image.width} do not fit lenet: both sides must be at least 4")
    width, init = config.filters, config.conv_init
    layers: tuple[Layer, ...] = (
        Convolution("conv1", image.channels, width, taps=5, pad=2, first=True, bias=True, init=init),
        ReLU(),
        MaxPooling(),
        Convolution("conv2", width, 2 * width, taps=5, pad=2, bias=True, init=init),
        ReLU(),
        MaxPooling(),
        Reshape(),
    )
    inputs = (image.height // 4) * (image.width // 4) * 2 * width
    return Network(image, classes, Sequential((*layers, *head(config, inputs, classes))))


def vgg(config: ModelConfig, image: ImageShape, classes: int) -> Network:
    """Three stages of n times convolution, BatchNorm, ReLU (F, 2F, 4F channels); global average; hidden layers; scores.

    It uses n, filters, hidden, dropout and the initialisers of the configuration. Raises UsageError for tiny images.
    """
    if min(image.height, image.width) < 4:
        raise UsageError(f"images of {image.height}x{image.width} do not fit vgg: both sides must be at least 4")
    layers: list[Layer] = []
    inputs = image.channels
    for stage in range(3):
        outputs = config.filters << stage
        layers += [MaxPooling()] if stage else []
        for block in range(config.n):
            name = f"stage{stage + 1}.{block}"
            first = not layers
            convolution = Convolution(f"{name}.conv", inputs, outputs, first=first, init=config.conv_init)
            layers += [convolution, BatchNorm(f"{name}.bn", outputs, init=config.gamma), ReLU()]
            inputs = outputs
    layers += [GlobalAverage(), *head(config, inputs, classes)]
    return Network(image, classes, Sequential(tuple(layers)))


#: The function in a file: (configuration, shape of an image, classes) -> a layer (n, h, w, c) -> (n, classes).
Builder: TypeAlias = Callable[[ModelConfig, ImageShape, int], Layer]

#: Errors in a user's file that become a UsageError: all that Python raises for an error in the file, and sys.exit,
#: which would end the run without a message. Not MemoryError (a network too large) and not KeyboardInterrupt.
_THEIRS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, NameError,
    OSError, RuntimeError, StopIteration, SyntaxError, SystemExit, TypeError, ValueError, Warning,
)  # fmt: skip

NETWORKS: dict[str, Callable[[ModelConfig, ImageShape, int], Network]] = {
    "resnet": resnet,
    "lenet": lenet,
    "vgg": vgg,
    "resnet18": classics.resnet18,
    "resnet34": classics.resnet34,
    "wide": classics.wide,
    "resnet9": classics.resnet9,
    "vgg11": classics.vgg11,
    "vgg16": classics.vgg16,
}


def build_network(config: ModelConfig, image: ImageShape, classes: int, files: tuple[str, ...] = ()) -> Network:
    """The network `config.network`. Raises UsageError if there is none or it does not fit the images."""
    if ":" in config.network:
        return _from_file(config, image, classes, files)
    if config.network not in NETWORKS:
        known = f"there are {', '.join(NETWORKS)}, and FILE:FUNCTION of files given with --networks"
        raise UsageError(f"network {config.network!r} is unknown: {known}{nearest(config.network, NETWORKS)}")
    return NETWORKS[config.network](config, image, classes)


def build(  # noqa: PLR0913  # what the identity of a run says about its network, and the files it may come from
    config: ModelConfig,
    image: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int = 0,
    files: tuple[str, ...] = (),
) -> NetworkModel:
    """The network of `config` as a model for images (h, w, c).

    mean, std: mean and standard deviation of the pixels in units of 0..255, one per channel; the mean may also have one
    value per pixel and channel, (h, w, c) in C order. `seed`: of the random draws in training. `files`: the Python
    files whose networks may be run. Raises UsageError if there is no such network or it does not fit the images.
    """
    network = build_network(config, ImageShape(*image), classes, files)
    criterion = make_criterion(config.criterion, config.class_weights, classes, config.label_smoothing)
    standard = pixel_means(mean, image), np.asarray(std, np.float32)
    return NetworkModel(network, standard, criterion, config.l2, seed, config.tile)


def pixel_means(mean: Sequence[float], image: tuple[int, int, int]) -> F32:
    """(c,), or (h, w, c) if `mean` has one value per pixel and channel."""
    means = np.asarray(mean, np.float32)
    return means if means.size == image[2] else means.reshape(image)


def _from_file(config: ModelConfig, image: ImageShape, classes: int, files: tuple[str, ...]) -> Network:
    stem, function = config.network.split(":")
    allowed = [Path(file).expanduser() for file in files if Path(file).stem == stem]
    if len(allowed) != 1:
        why = f"{len(allowed)} files of that name were allowed" if allowed else "this host was not told to run it"
        raise UsageError(
            f"network {config.network!r} comes from a Python file, and {why}: if you trust {stem}.py, "
            f"give it once with --networks PATH/{stem}.py"
        )
    path = allowed[0]
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--networks {path}: cannot be read: {error.strerror}") from error
    try:
        builder = cast(Builder, getattr(_load(path), function))
        layer = builder(config, image, classes)
        _refuse_misfit(layer, image, classes)
    except _THEIRS as error:
        raise UsageError(f"{path}, {function}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    return Network(image, classes, layer, hashlib.sha256(source).hexdigest())


def _load(path: Path) -> ModuleType:
    name = f"dptrain_network_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "every name ending in .py has one"
    assert spec.loader is not None, "the same"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _refuse_misfit(layer: Layer, image: ImageShape, classes: int) -> None:
    """Raises ValueError if two images do not give scores (2, classes). Runs in float64, which compiles nothing."""
    layout = ParamLayout(layer.params)
    x = np.zeros((2, image.height, image.width, image.channels))
    params = layout.views(initial_params(layout, 0).astype(np.float64))
    y, _ = layer(Run(params, {}, training=True), x)
    if y.shape != (2, classes):
        raise ValueError(f"2 images of {image} gave scores of shape {y.shape}; it must be (2, {classes})")
