"""Images that fool a network: gradient descent on the pixels of an image, or of noise, towards a target class.

As in the predecessor: until p(target) reaches a confidence, with a pull back to the start. New here: a limit on the
steps, pixels that stay within 0 ... 255, and the success rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from dptrain.explain.drawing import bare, figure, looks
from dptrain.explain.frozen import Frozen
from dptrain.kernels import normal, philox
from dptrain.types import F32, F64, I64

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def normal_pixels(seed: int, stream: int, shape: tuple[int, ...]) -> F64:
    """Normal random numbers with mean 0 and variance 1."""
    return normal.normals(seed, philox.Domain.PICTURES, stream, prod(shape)).reshape(shape)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The parameters of an attempt. Pixels are in units of 0 ... 255."""

    confidence: float = 0.9  #: success from this p(target) on
    step: float = 1.0  #: by which the fastest pixel moves in one step
    pull: float = 0.0  #: lambda of lambda / 2 |x - start|^2, added to the loss
    cap: int = 200  #: most steps; then the attempt has failed


@dataclass(frozen=True, slots=True, eq=False)
class Fooled:
    """The result for each image."""

    start: F32  #: (n, h, w, c)
    end: F32
    probabilities: F64  #: (n,) of the target, at the end
    steps: I64  #: (n,) taken
    success: Sequence[bool]

    @property
    def rate(self) -> float:
        """The part of the images that reached the confidence."""
        return sum(self.success) / len(self.success)


def noise_images(count: int, shape: tuple[int, int, int], seed: int) -> F32:
    """(count, h, w, c): mid-grey with normal noise of standard deviation 20, as in the predecessor, in 0 ... 255."""
    noise = np.stack([normal_pixels(seed, 1_000 + image, shape) for image in range(count)])
    return np.clip(127.5 + 20.0 * noise, 0, 255).astype(np.float32)


def fool(network: Frozen, start: F32, targets: I64, attempt: Attempt) -> Fooled:
    """Descends -log p(target) of each image until p(target) >= confidence or the limit of steps. Copies `start`."""
    x = start.astype(np.float32, copy=True)
    steps, probabilities = np.zeros(len(x), np.int64), np.zeros(len(x))
    open_ = np.arange(len(x))  # images that have not reached it yet
    for taken in range(attempt.cap + 1):
        logits, slope = network.loss_gradient(x[open_], targets[open_])
        probabilities[open_] = _probabilities(logits)[np.arange(len(open_)), targets[open_]]
        steps[open_] = taken
        more = probabilities[open_] < attempt.confidence
        if taken == attempt.cap or not more.any():
            break
        open_, slope = open_[more], slope[more]
        slope = slope + np.float32(attempt.pull) * (x[open_] - start[open_])
        fastest = np.abs(slope).reshape(len(open_), -1).max(axis=1).reshape(-1, 1, 1, 1)
        x[open_] = np.clip(x[open_] - np.float32(attempt.step) * slope / np.maximum(fastest, 1e-30), 0, 255)
    success = (probabilities >= attempt.confidence).tolist()
    return Fooled(start, x, probabilities, steps, success)


def _probabilities(logits: F32) -> F64:
    odds: F64 = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    normed: F64 = odds / odds.sum(axis=1, keepdims=True)
    return normed


def draw_fooled(fooled: Fooled, before: Sequence[str], after: Sequence[str]) -> Figure:
    """One row of three panels per image: start, change (made visible, with its strength), and end."""
    count, grey = len(fooled.start), fooled.start.shape[3] == 1
    with looks():
        drawn = figure(5.4, 0.3 + 1.75 * count)
        axes = drawn.subplots(count, 3, squeeze=False)
        for row in range(count):
            change = fooled.end[row] - fooled.start[row]
            strength = float(np.abs(change).max())
            visible = 127.5 + 127.5 * change / max(strength, 1e-30)
            panels = (
                (fooled.start[row], before[row]),
                (visible, f"change, {fooled.steps[row]} steps\nat most {strength:.0f} of 255"),
                (fooled.end[row], after[row]),
            )
            for axis, (pixels, title) in zip(axes[row], panels, strict=True):
                shown = np.clip(pixels, 0, 255).astype(np.uint8)
                axis.imshow(shown[..., 0] if grey else shown, cmap="gray" if grey else None, vmin=0, vmax=255)
                axis.set_title(title, fontsize=8)
                bare(axis)
        return drawn
