"""The targets of the fuzzer: each reader of foreign bytes, sound files for it, and the errors that it may raise."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from dptrain.cluster.codec import FORMS, Limits, decode, encode
from dptrain.data.datasets import cifar10
from dptrain.data.datasets.mnist import read_idx
from dptrain.errors import CheckpointError, DataError, DptrainError, RemoteProtocolError
from dptrain.interop.pyfunt import read_pyfunt
from dptrain.interop.torchfile import read_torch
from dptrain.interop.weights import read_weights
from dptrain.model import ParamLayout, ParamSpec
from dptrain.runs.checkpoint import load, pack
from dptrain.runs.manifest import DataFacts, RunFacts
from dptrain.settings import Config
from dptrain.state import TrainingState, layout_digest
from simulation import mutations
from simulation.mutations import Mutation

SAMPLES = Path(__file__).with_name("samples")
LIMITS = Limits(params=12, buffers=4, image_bytes=4096)
PARAMS = ParamLayout((ParamSpec("conv1.weight", (4, 3, 3, 3)), ParamSpec("bn1.weight", (4,), decay=False)))
BUFFERS = ParamLayout((ParamSpec("bn1.running_mean", (4,)), ParamSpec("bn1.running_var", (4,))))


@dataclass(frozen=True)
class Target:
    """One reader."""

    read: Callable[[Path], object]
    documented: type[DptrainError]  #: what it raises for a file that is not sound, in one line
    samples: Callable[[], list[tuple[bytes, Mutation]]]  #: sound files, and how each is changed


def _messages() -> list[tuple[bytes, Mutation]]:
    """One of each kind there is on the wire."""
    return [(mutations.joined([bytes(part) for part in encode(_message(name))]), mutations.frames) for name in FORMS]


def _message(name: str):  # any of the union
    form, values = FORMS[name], {}
    sizes = {"gradient": 12, "params": 12, "statistics": 4, "buffers": 4}
    for key, kind in form.scalars.items():
        values[key] = {str: "0" * 16, int: 3, float: 0.5}[kind]
    for key in form.arrays:
        values[key] = np.zeros((1, 4, 4, 3), np.uint8) if key == "images" else np.ones(sizes[key], np.float32)
    return form.message(values)


def _decode(path: Path) -> object:
    return decode([bytearray(part) for part in mutations.cut(path.read_bytes())], LIMITS)


def _checkpoints() -> list[tuple[bytes, Mutation]]:
    """Of a small network, with and without best weights."""
    data = DataFacts("fashion-mini", "ab" * 32, (28, 28, 1), ("shirt", "shoe"), (72.9,), (30.1,), 5400, 600, 1000)
    facts = RunFacts(Config(), data, layout_digest(PARAMS, BUFFERS), "fp32", "ResNet-8, 112 parameters")
    return [(pack(_state(best=best), facts, term=1), mutations.checkpoint) for best in (False, True)]


def _state(*, best: bool) -> TrainingState:
    weights, statistics = np.ones(PARAMS.size, np.float32), np.ones(BUFFERS.size, np.float32)
    state = TrainingState(PARAMS, BUFFERS, weights, statistics, {"velocity": weights}, step=7)
    state.epoch_loss, state.epoch_hits, state.epoch_samples = 1 / 3, 5, 96
    state.evaluated_step, state.history = 6, {"validation_loss": 0.3}
    if best:
        state.best_accuracy, state.best_step, state.best_params, state.best_buffers = 0.5, 6, weights, statistics
    return state


def _weights() -> list[tuple[bytes, Mutation]]:
    """Arrays of several types, as another program writes them, with a normalisation."""
    arrays = {"conv1.weight": np.ones((4, 3), np.float32), "bn1.weight": np.ones(4, np.float16)}
    metadata = {"format": "pt", "dptrain.about": '{"mean": [120.5, 80.0], "std": [60.0, 55.5]}'}
    return [(save(arrays, metadata), mutations.safetensors)]


def _read_weights(path: Path) -> object:
    """Under a name that says what it is."""
    return read_weights(path.rename(path.with_suffix(".safetensors")))


def _idx() -> list[tuple[bytes, Mutation]]:
    """Images and labels of an MNIST of four, packed or not."""
    images = struct.pack(">4B3I", 0, 0, 8, 3, 4, 28, 28) + bytes(range(256)) * 12 + bytes(64)
    labels = struct.pack(">4BI", 0, 0, 8, 1, 4) + bytes((7, 2, 1, 0))
    packed = [gzip.compress(content, mtime=0) for content in (images, labels)]
    return [(content, mutations.idx) for content in (images, labels, *packed)]


def _read_idx(path: Path) -> object:
    """In as many dimensions as a set would ask for: those of images, and where they are not there, of labels."""
    try:
        return read_idx(path, 3)
    except DataError:
        return read_idx(path, 1)


def _cifar(path: Path) -> object:
    return cifar10.part(path, *cifar10.batch(path, "labels"), classes=10)


def _stored(*names: str, how: tuple[Mutation, ...]) -> Callable[[], list[tuple[bytes, Mutation]]]:
    return lambda: [((SAMPLES / name).read_bytes(), mutation) for name, mutation in zip(names, how, strict=True)]


TARGETS = {
    "codec": Target(_decode, RemoteProtocolError, _messages),
    "checkpoint": Target(lambda path: load(path).state(PARAMS, BUFFERS), CheckpointError, _checkpoints),
    "weights": Target(_read_weights, DataError, _weights),
    "idx": Target(_read_idx, DataError, _idx),
    "cifar": Target(_cifar, DataError, _stored("cifar-python2", "cifar-python3", how=(mutations.pickled,) * 2)),
    "torch": Target(
        read_torch, DataError, _stored("torch-zip.pth", "torch-old.th", how=(mutations.zipped, mutations.pickles))
    ),
    "pyfunt": Target(
        read_pyfunt, DataError, _stored("pyfunt-python2.npy", "pyfunt-numpy.npy", how=(mutations.npy,) * 2)
    ),
}
