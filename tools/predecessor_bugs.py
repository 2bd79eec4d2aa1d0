"""Measures what a bug of the predecessors costs: `dptrain train` with one bug put back, to compare accuracies.

`python tools/predecessor_bugs.py BUG TRAIN-FLAGS...`, in one process. BUG is "none", or the number of the bug in
docs/predecessors.md:

    b2  the convolution's input gradient takes the output's gradient, (n, h, w, k) in memory, for one of (h, w, n, k):
        images of a batch are mixed, and it is right for one image alone. Layer by layer, without the engine
    b3  the last residual block has a gradient of zero, and so passes its input's on by the shortcut alone
    b5  Nesterov momentum with a dampening of the momentum: v = m v + (1 - m) g
    b6  a crop never has the last row's or column's offset: 2 pad of the 2 pad + 1 in each direction
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np

from dptrain.cli import main
from dptrain.engine.model import Bound, EngineModel
from dptrain.kernels import augment, conv
from dptrain.kernels.reference.philox import bounded
from dptrain.model import ShardResult
from dptrain.optim.optimizer import SGD
from dptrain.types import F32, I64, U8, U32


def put(place: object, name: str, bug: Callable[..., object]) -> None:
    """Replaces an attribute. A type checker would reject the assignment."""
    setattr(place, name, bug)


def mixed_images() -> None:
    """Bug b2."""
    right = conv.input_gradient

    def input_gradient(dy: F32, weights: F32, size: tuple[int, int], stride: int, pad: int, tile: int) -> F32:
        n, h, w, k = dy.shape
        mixed = np.ascontiguousarray(dy.reshape(h, w, n, k).transpose(2, 0, 1, 3))
        return right(mixed, weights, size, stride, pad, tile)

    put(conv, "input_gradient", input_gradient)
    put(import_module("dptrain.workers.parts"), "build", import_module("dptrain.nn").build)


def no_gradient_in_the_last_block() -> None:
    """Bug b3."""
    right, load = EngineModel.gradient, EngineModel.load
    training = False

    def gradient(self: EngineModel, params: F32, x: U8, y: I64, step: int = 0, shard: int = 0) -> ShardResult:
        nonlocal training
        training = True
        found = right(self, params, x, y, step, shard)
        training = False
        views = self.params.views(found.gradient)
        last = max(name.rsplit(".", 2)[0] for name in views if name.startswith("layer3."))
        for name in views:
            if name.startswith(f"{last}."):
                views[name][...] = 0
        return found

    def loaded(self: EngineModel, params: F32, x: U8) -> Bound:
        found = load(self, params, x)
        if training:  # the block's first convolution, backwards: nothing comes through the branch
            found.chain.weights.layers[-2].backward[...] = 0
        return found

    put(EngineModel, "gradient", gradient)
    put(EngineModel, "load", loaded)


def dampened() -> None:
    """Bug b5."""

    def update(self: SGD, params: F32, gradient: F32, state: dict[str, F32], lr: float, step: int) -> None:
        v, m = state["velocity"], self._momentum
        g = gradient + params * self._decay.factors if self._decay.factors.size else gradient
        v[...] = m * v + (1 - m) * g if v.any() else g
        params -= np.float32(lr) * (g + m * v)

    put(SGD, "update", update)


def last_offset_missing() -> None:
    """Bug b6."""

    def crop(images: U8, words: U32, pad: int, fill: int, out: U8) -> None:
        h, w = out.shape[1:3]
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=fill)
        for i in range(len(images)):
            top, left = bounded(int(words[i, 0]), 2 * pad), bounded(int(words[i, 1]), 2 * pad)
            out[i] = padded[i, top : top + h, left : left + w]

    put(augment, "crop", crop)


BUGS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "b2": mixed_images,
    "b3": no_gradient_in_the_last_block,
    "b5": dampened,
    "b6": last_offset_missing,
}


def run(words: Sequence[str]) -> int:
    """Returns the exit code of `dptrain train`, or 64 if the first word names no bug."""
    if not words or words[0] not in BUGS:
        sys.stderr.write(
            f"predecessor_bugs: {words[0] if words else 'nothing'!r} is no bug; write one of {', '.join(BUGS)}\n"
        )
        return 64
    BUGS[words[0]]()
    return main(["train", "--workers", "0", *words[1:]])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
