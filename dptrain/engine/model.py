"""The engine as the trainer sees it: uint8 in, sums over the shard out (the seam `dptrain.model.Model`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dptrain.engine import convolutions, elementwise, layers, passes, pooling
from dptrain.engine.arena import Vectors
from dptrain.engine.calls import Call, Context, Shard
from dptrain.engine.lines import WHOLE, Line, Lines, Op, Segment
from dptrain.engine.memory import Memory
from dptrain.kernels import loss
from dptrain.model import ShardResult
from dptrain.nn.criterion import added
from dptrain.nn.layer import Chance, Run
from dptrain.nn.network import NetworkModel
from dptrain.types import F32, I64, U8

_CHUNK = 8  #: images scored at a time: their activations stay in the cache


_BINDERS: dict[Op, Callable[[Context, Line], Call]] = {
    Op.PIXELS: elementwise.pixels,
    Op.CONVOLVE: convolutions.convolve,
    Op.SUM: elementwise.sums,
    Op.SQUARES: elementwise.squares,
    Op.APPLY: elementwise.apply,
    Op.MAXIMUM: pooling.maximum,
    Op.AVERAGE: pooling.average,
    Op.MEAN: pooling.mean,
    Op.HALVE: pooling.halve,
    Op.LAYERS: layers.layers,
    Op.CHAIN: passes.chain,
    Op.MASK: elementwise.mask,
    Op.PRODUCTS: elementwise.products,
    Op.UNNORM: elementwise.unnorm,
    Op.BIAS: elementwise.bias,
    Op.WEIGHTS: convolutions.weights,
    Op.INPUTS: convolutions.inputs,
    Op.MAXIMUM_BACK: pooling.maximum_back,
    Op.AVERAGE_BACK: pooling.average_back,
    Op.MEAN_BACK: pooling.mean_back,
    Op.HALVE_BACK: pooling.halve_back,
    Op.LAYERS_BACK: layers.layers_back,
    Op.CHAIN_BACK: passes.chain_back,
}


class EngineModel:
    """A network on the engine; for one thread at a time. `model` is the same network layer by layer."""

    def __init__(self, plan: Lines, model: NetworkModel) -> None:
        self.plan, self._of = plan, model
        self.params, self.buffers = model.params, model.buffers
        self._gradients, self._statistics = Vectors(self.params.size), Vectors(self.buffers.size)
        self._training: Bound | None = None  #: for the largest shard so far
        self._scoring: Bound | None = None

    def gradient(self, params: F32, x: U8, y: I64, step: int = 0, shard: int = 0) -> ShardResult:
        """Sums over a shard. x: images (n, h, w, c) uint8, y: labels (n,). BatchNorm normalises over the shard."""
        n, bound, of = len(x), self.load(params, x), self._of
        flat, statistics, own = self._gradients.take(), self._statistics.take(), bound.shard
        own.gradient, own.statistics, own.gradients = flat, statistics, self.params.views(flat)
        own.run = Run(bound.views, {}, training=True, chance=Chance(of.seed, step, shard), tile=of.tile)
        bound.run(bound.forward, n)
        views = self.buffers.views(statistics)
        for name, batch in own.run.statistics.items():
            views[name][...] = batch * np.float32(n)
        scores = bound.scores.images(n)
        losses, dscores = of.criterion(scores, y)
        bound.put_gradient(dscores)
        bound.run(bound.backward, n)
        total = of.add_l2(params, flat, y, added(losses.tolist()))
        hits = int((loss.ranks(scores, y) == 0).sum())
        return ShardResult(flat, statistics, total, hits, n)

    def logits(self, params: F32, buffers: F32, x: U8) -> F32:
        """(n, h, w, c) uint8 -> scores (n, classes), with running statistics: no image influences another's scores."""
        self._refuse_other_images(x)
        if self._scoring is None:
            self._scoring = Bound(self.plan.scoring(), self._of, _CHUNK)
        bound, own = self._scoring, np.array(buffers, np.float32)
        bound.use(params)
        bound.shard.run = Run(bound.views, self.buffers.views(own), training=False, tile=self._of.tile)
        bound.running(own)
        out = np.empty((len(x), self._of.network.classes), np.float32)
        for at in range(0, len(x), _CHUNK):
            part = x[at : at + _CHUNK]
            bound.shard.pixels[: len(part)] = part
            bound.run(bound.forward, len(part))
            out[at : at + _CHUNK] = bound.scores.images(len(part))
        return out

    def load(self, params: F32, x: U8) -> Bound:
        """The calls of a shard, with these weights packed and these images where the first line reads them."""
        self._refuse_other_images(x)
        if self._training is None or self._training.capacity < len(x):
            self._training = Bound(self.plan, self._of, max(1, len(x)))
        self._training.use(params)
        self._training.shard.pixels[: len(x)] = x
        return self._training

    def _refuse_other_images(self, x: U8) -> None:
        image = self._of.network.image
        if x.ndim != 4 or x.shape[1:] != (image.height, image.width, image.channels):
            raise ValueError(f"images of shape {x.shape[1:]}, but the network was built for {image}")


class Bound:
    """The calls of a plan for shards of up to `capacity` images."""

    def __init__(self, plan: Lines, model: NetworkModel, capacity: int) -> None:
        self._memory, self.capacity, image = Memory(plan, capacity), capacity, model.network.image
        pixels = np.zeros((capacity, image.height, image.width, image.channels), np.uint8)
        params = np.full(model.params.size, np.nan, np.float32)  # NaN differs from everything
        self.shard, self.views = Shard(params, pixels), model.params.views(params)
        self._context = Context(self._memory, plan, self.shard, (model.params, model.buffers), model.standard)
        self._plan, self.scores = plan, self._memory.places[plan.scores]
        self.forward, self.backward = self._calls(plan.forward), self._calls(plan.backward)

    def _calls(self, segments: Sequence[Segment]) -> list[tuple[list[Call], int]]:
        return [([_BINDERS[line.op](self._context, line) for line in part.lines], part.group) for part in segments]

    def use(self, params: F32) -> None:
        """Packs these parameters (size,), unless they are packed already."""
        own = self.shard.params
        if np.array_equal(params.view(np.int32), own.view(np.int32)):  # as bits: -0.0 is not 0.0
            return
        own[...] = params  # a writable copy of our own: kernels are compiled for one kind of array
        for packed in self._context.packed.values():
            packed.pack(own)

    def put_gradient(self, dscores: F32) -> None:
        """The gradient of the scores, with which the backward pass begins."""
        self._memory.places[self._plan.dscores].put(dscores)

    def running(self, buffers: F32) -> None:
        """Every BatchNorm's scale and shift from the running statistics."""
        for take in self._context.running:
            take(buffers)

    @property
    def chain(self) -> passes.Chain:
        """The chain of the paper's blocks with which the network begins."""
        return passes.made(self._context)

    @staticmethod
    def sweep(call: Call, group: int, n: int) -> None:
        """One call for n images, group by group."""
        Bound.run([([call], group)], n)

    @staticmethod
    def run(parts: list[tuple[list[Call], int]], n: int) -> None:
        """Every segment, group by group, for n images."""
        for calls, group in parts:
            for call in calls:
                if call.begin:
                    call.begin()
            size = n if calls[0].line.op in WHOLE else group
            for first in range(0, n, size):
                count = min(size, n - first)
                for call in calls:
                    call.run(first, count)
            for call in calls:
                if call.end:
                    call.end(n)
