"""A network as the trainer sees it: uint8 in, sums over the shard out (the seam `dptrain.model.Model`)."""

from __future__ import annotations

import numpy as np

from dptrain.kernels import loss, pixels
from dptrain.model import ParamLayout, ShardResult
from dptrain.nn.layer import Run
from dptrain.nn.resnet import ResNet
from dptrain.types import F32, I64, U8

_CHUNK = 32  #: samples scored at a time: activations stay in the cache


class NetworkModel:
    """Layer by layer, readable; one thread at a time. Pixel mean and std (c,) are in units of 0..255."""

    def __init__(self, resnet: ResNet, mean: F32, std: F32) -> None:
        self.resnet = resnet
        self.params = ParamLayout(resnet.network.params)
        self.buffers = ParamLayout(resnet.network.buffers)
        self._mean, self._std = mean.astype(np.float32), std.astype(np.float32)

    def gradient(self, params: F32, x: U8, y: I64) -> ShardResult:
        """Forward and backward of one shard. x: (n, h, w, c) uint8, y: (n,). BatchNorm over the shard. Sums."""
        flat, statistics = np.zeros(self.params.size, np.float32), np.zeros(self.buffers.size, np.float32)
        run = Run(self.params.views(params), {}, training=True)
        logits, backward = self.resnet.network(run, self._standardise(x))
        losses, dlogits = loss.cross_entropy(logits, y)
        backward(dlogits, self.params.views(flat))
        samples = len(y)
        for name, view in self.buffers.views(statistics).items():
            view[...] = run.statistics[name] * np.float32(samples)
        hits = int((loss.ranks(logits, y) == 0).sum())
        return ShardResult(flat, statistics, sum(losses.tolist()), hits, samples)

    def logits(self, params: F32, buffers: F32, x: U8) -> F32:
        """(n, h, w, c) uint8 -> (n, classes), with running statistics: a score never depends on its batch mates."""
        run = Run(self.params.views(params), self.buffers.views(buffers), training=False)
        out = np.empty((len(x), self.resnet.classes), np.float32)
        for at in range(0, len(x), _CHUNK):
            out[at : at + _CHUNK], _ = self.resnet.network(run, self._standardise(x[at : at + _CHUNK]))
        return out

    def _standardise(self, x: U8) -> F32:
        image = self.resnet.image
        if x.ndim != 4 or x.shape[1:] != (image.height, image.width, image.channels):
            raise ValueError(f"images of shape {x.shape[1:]}; the network was built for {image}")
        return pixels.standardise(x, self._mean, self._std)
