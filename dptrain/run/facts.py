"""What is fixed for a whole run and every later reader of it must know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dptrain.cluster.state import layout_digest
from dptrain.config import Config, ModelConfig, identity
from dptrain.model import Model

if TYPE_CHECKING:
    from dptrain.data.shards import ShardSource  # would import Numba for whoever only reads a checkpoint


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data set as the network saw it: enough to feed it a new image."""

    name: str
    sha256: str
    image: tuple[int, int, int]  #: height, width, channels
    classes: tuple[str, ...]
    mean: tuple[float, ...]  #: of the training set, on the scale 0..255: one a channel, or of every pixel (h, w, c)
    std: tuple[float, ...]  #: one a channel
    train: int  #: samples
    validation: int
    test: int


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run: asked for, found, and the name that follows from both."""

    config: Config
    data: DataFacts
    layout: str  #: ParamLayout.digest() of params, then of buffers
    numerics: str  #: of the arithmetic, e.g. "fp32-v2"
    model: str  #: for people: "ResNet-8, 75,290 parameters"

    @property
    def identity(self) -> str:
        """SHA-256 (hex) that names the run."""
        return identity(self.config, self.data.sha256, self.layout, self.numerics)


def find_facts(config: Config, source: ShardSource, model: Model, numerics: str) -> RunFacts:
    """What is known once the data is open and the network built."""
    dataset, standard = source.dataset, source.standard
    data = DataFacts(
        name=dataset.name,
        sha256=dataset.sha256,
        image=source.image_shape,
        classes=dataset.classes,
        mean=standard.mean,
        std=standard.std,
        train=source.size("train"),
        validation=source.size("validation"),
        test=source.size("test"),
    )
    text = f"{_title(config.model)}, {model.params.size:,} parameters"
    return RunFacts(config, data, layout_digest(model.params, model.buffers), numerics, text)


def _title(model: ModelConfig) -> str:
    """What the network is called."""
    if model.network != "resnet":
        return model.network
    return f"{'ResNet' if model.residual else 'plain network'}-{6 * model.n + 2 + len(model.hidden)}"
