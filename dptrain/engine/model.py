"""The engine as the trainer sees it: uint8 in, sums over the shard out (the seam `dptrain.model.Model`)."""

from __future__ import annotations

import numpy as np

from dptrain.engine.arena import Arena, Vectors
from dptrain.engine.passes import Passes
from dptrain.engine.plan import Plan
from dptrain.engine.weights import Weights
from dptrain.kernels import loss
from dptrain.kernels.compiled import aligned_empty
from dptrain.kernels.fused import ends, norm
from dptrain.model import ParamLayout, ShardResult
from dptrain.nn.containers import Sequential
from dptrain.nn.layer import Chance, Run
from dptrain.types import F32, I64, U8

_CHUNK = 8  #: images scored at a time: their activations stay in the cache


class EngineModel:
    """A residual network on the engine; for one thread at a time. The linear layers at the end run in `dptrain.nn`.

    They are 0.1 % of the work. `pixels`: mean and standard deviation per channel, in units of 0..255.
    """

    def __init__(
        self,
        plan: Plan,
        head: Sequential,
        layouts: tuple[ParamLayout, ParamLayout],
        pixels: tuple[F32, F32],
        seed: int = 0,
    ) -> None:
        self.plan, self._head, self._seed = plan, head, seed
        self.params, self.buffers = layouts
        self._table = aligned_empty((len(pixels[0]), 256))
        ends.pixel_values(*pixels, self._table)
        self._weights = Weights(plan.convolutions, self.params.size)
        self._gradients, self._statistics = Vectors(self.params.size), Vectors(self.buffers.size)
        self._bound: tuple[Arena, Passes] | None = None  #: to the largest shard so far

    def gradient(self, params: F32, x: U8, y: I64, step: int = 0, shard: int = 0) -> ShardResult:
        """Sums over a shard. x: images (n, h, w, c) uint8, y: labels (n,). BatchNorm normalises over the shard."""
        samples = len(x)
        arena, passes = self.load(params, x)
        flat, statistics = self._gradients.take(), self._statistics.take()
        passes.forward(samples, statistics)
        run = Run(self.params.views(self._weights.params), {}, training=True, chance=Chance(self._seed, step, shard))
        logits, backward = self._head(run, self._means(arena, samples))
        losses, dlogits = loss.cross_entropy(logits, y)
        dmeans = backward(dlogits, self.params.views(flat))
        views = self.buffers.views(statistics)
        for name, batch in run.statistics.items():
            views[name][...] = batch * np.float32(samples)
        passes.backward(samples, dmeans, flat)
        hits = int((loss.ranks(logits, y) == 0).sum())
        return ShardResult(flat, statistics, sum(losses.tolist()), hits, samples)

    def logits(self, params: F32, buffers: F32, x: U8) -> F32:
        """(n, h, w, c) uint8 -> scores (n, classes), with running statistics: no image influences another's scores."""
        run = Run(self.params.views(params), self.buffers.views(buffers), training=False)
        arena, passes = self.load(params, x[:_CHUNK])
        own = np.array(buffers, np.float32)
        for layer, at in zip(self.plan.convolutions, arena.norms, strict=True):
            norm.running(at.row, self._weights.params, layer.norm_at, own, layer.statistics_at)
        parts = []
        for first in range(0, len(x), _CHUNK):
            part = x[first : first + _CHUNK]
            arena.pixels[: len(part)] = part
            passes.forward(len(part), None)
            parts.append(self._head(run, self._means(arena, len(part)))[0])
        return np.concatenate(parts) if parts else self._head(run, self._means(arena, 0))[0]

    def load(self, params: F32, x: U8) -> tuple[Arena, Passes]:
        """The passes, with these weights packed and these images copied to where the stem reads them."""
        image = self.plan.convolutions[0].inputs
        if x.ndim != 4 or x.shape[1:] != (image.height, image.width, image.channels):
            raise ValueError(f"images of shape {x.shape[1:]}, but the network was built for {image}")
        if self._bound is None or self._bound[0].capacity < len(x):
            arena = Arena(self.plan, max(1, len(x)))
            self._bound = arena, Passes(self.plan, arena, self._weights, self._table)
        self._weights.use(params)
        self._bound[0].pixels[: len(x)] = x
        return self._bound

    def _means(self, arena: Arena, samples: int) -> F32:
        return arena.means.reshape(arena.capacity, -1)[:samples]
