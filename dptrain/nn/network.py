"""A network as the trainer sees it, `dptrain.model.Model`: uint8 images in, sums over a shard out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass

import numpy as np

from dptrain.kernels import loss, pixels
from dptrain.model import ParamLayout, ShardResult
from dptrain.nn.criterion import PLAIN, Criterion, added
from dptrain.nn.layer import Chance, Layer, Run
from dptrain.types import F32, I64, U8


@dataclass(frozen=True, slots=True)
class ImageShape:
    """The images a network takes: height, width, channels."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}x{self.channels}"


@dataclass(frozen=True, slots=True)
class Network:
    """(n, h, w, c) -> (n, classes)."""

    image: ImageShape
    classes: int
    network: Layer = field(repr=False)
    origin: str = ""  #: SHA-256 (hex) of the file it was read from; "": built in


def children(layer: object) -> Iterator[Layer]:
    """The layers in the fields of a layer, in order; none for a layer that contains no others."""
    for part in fields(layer) if is_dataclass(layer) else ():
        value = getattr(layer, part.name)
        for item in value if isinstance(value, tuple) else (value,):
            if callable(item) and hasattr(item, "params") and hasattr(item, "buffers"):
                yield item


def leaves(layer: Layer) -> Iterator[Layer]:
    """The layers of a network that contain no others, in order."""
    inner = list(children(layer))
    if not inner:
        yield layer
    for child in inner:
        yield from leaves(child)


_CHUNK = 32  #: images scored at a time: their activations stay in the cache


class NetworkModel:
    """A network computed layer by layer; for one thread at a time.

    `standard`: mean (c,) or (h, w, c) and standard deviation (c,) of the pixels, in units of 0..255.
    """

    def __init__(
        self,
        network: Network,
        standard: tuple[F32, F32],
        criterion: Criterion = PLAIN,
        l2: float = 0.0,
        seed: int = 0,
        tile: int = 4,
    ) -> None:
        self.network = network
        self.params = ParamLayout(network.network.params, network.origin)
        self.buffers = ParamLayout(network.network.buffers)
        self.standard = (standard[0].astype(np.float32), standard[1].astype(np.float32))
        self.criterion = criterion
        self.l2 = l2  #: l2 / 2 times the sum of the squared weights is part of the loss of every image
        self.seed = seed  #: of the random draws in training
        self.tile = tile  #: the largest one of Winograd's convolutions

    def gradient(self, params: F32, x: U8, y: I64, step: int = 0, shard: int = 0) -> ShardResult:
        """Sums over a shard. x: images (n, h, w, c) uint8, y: labels (n,). BatchNorm normalises over the shard."""
        flat, statistics = np.zeros(self.params.size, np.float32), np.zeros(self.buffers.size, np.float32)
        run = Run(self.params.views(params), {}, training=True, chance=Chance(self.seed, step, shard), tile=self.tile)
        logits, backward = self.network.network(run, self._standardise(x))
        losses, dlogits = self.criterion(logits, y)
        backward(dlogits, self.params.views(flat))
        samples, total = len(y), self.add_l2(params, flat, y, added(losses.tolist()))
        for name, view in self.buffers.views(statistics).items():
            view[...] = run.statistics[name] * np.float32(samples)
        hits = int((loss.ranks(logits, y) == 0).sum())
        return ShardResult(flat, statistics, total, hits, samples)

    def add_l2(self, params: F32, gradient: F32, y: I64, total: float) -> float:
        """The loss with that of the weights, whose gradient is added to `gradient`."""
        if not self.l2:
            return total
        counted = self.criterion.count(y)  # the sums over a batch are divided by the sum of these
        gradient += np.float32(counted * self.l2) * params
        return total + counted * (self.l2 / 2) * _sum_of_squares(params)

    def logits(self, params: F32, buffers: F32, x: U8) -> F32:
        """(n, h, w, c) uint8 -> scores (n, classes), with running statistics: no image influences another's scores."""
        run = Run(self.params.views(params), self.buffers.views(buffers), training=False, tile=self.tile)
        out = np.empty((len(x), self.network.classes), np.float32)
        for at in range(0, len(x), _CHUNK):
            out[at : at + _CHUNK], _ = self.network.network(run, self._standardise(x[at : at + _CHUNK]))
        return out

    def _standardise(self, x: U8) -> F32:
        image = self.network.image
        if x.ndim != 4 or x.shape[1:] != (image.height, image.width, image.channels):
            raise ValueError(f"images of shape {x.shape[1:]}, but the network was built for {image}")
        return pixels.standardise(x, *self.standard)


def _sum_of_squares(params: F32) -> float:
    """From the first to the last, in float64: the order of np.sum depends on the CPU."""
    return float(np.add.accumulate(np.square(params, dtype=np.float64))[-1])
