"""Saliency maps: on which pixels a score depends (SmoothGrad: Smilkov et al. 2017). Filters of a first layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dptrain.explain.drawing import OTHER, bare, figure, looks
from dptrain.explain.fooling import normal_pixels
from dptrain.explain.frozen import Frozen
from dptrain.types import F32, I64, U8, Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 25  #: noisy copies per image for SmoothGrad; in the paper, more than 50 change little
SPREAD = 0.1  #: standard deviation of the noise, in parts of the image's range; in the paper, 0.1 to 0.2


def gradient(network: Frozen, images: U8, classes: I64) -> F32:
    """(n, h, w): the largest |d score of the image's class / d pixel| over the channels, as in the predecessor."""
    return _strongest(_score_gradient(network, images.astype(np.float32), classes))


def smooth_gradient(network: Frozen, images: U8, classes: I64, seed: int = 0) -> F32:
    """(n, h, w): as `gradient`, of the mean gradient over SAMPLES noisy copies of each image."""
    pixels = images.astype(np.float32)
    spans = np.ptp(pixels.reshape(len(pixels), -1), axis=1).reshape(-1, 1, 1, 1)
    total = np.zeros(pixels.shape, np.float64)
    for copy in range(SAMPLES):
        noisy = pixels + SPREAD * spans * normal_pixels(seed, copy, pixels.shape)
        total += _score_gradient(network, noisy.astype(np.float32), classes)
    return _strongest(total / SAMPLES)


def _strongest(gradients: Floats) -> F32:
    strongest: F32 = np.abs(gradients).max(axis=3).astype(np.float32)
    return strongest


def _score_gradient(network: Frozen, pixels: F32, classes: I64) -> Floats:
    logits = network.logits(pixels[:1])
    weights = np.zeros((len(pixels), logits.shape[1]), np.float32)
    weights[np.arange(len(pixels)), classes] = 1
    return network.gradient(pixels, weights)[1]


def draw_saliency(images: U8, maps: Sequence[tuple[str, F32]], titles: Sequence[str]) -> Figure:
    """One column per image: the image, one row per kind of map, and the last map over the image."""
    count, rows = len(images), len(maps) + 2
    grey = images.shape[3] == 1
    shown = images[..., 0] if grey else images
    with looks():
        drawn = figure(max(2.8, 0.6 + 1.25 * count), 0.3 + 1.3 * rows)
        axes = drawn.subplots(rows, count, squeeze=False)
        names = ["image", *(name for name, _ in maps), "both"]
        for row, name in enumerate(names):
            for column in range(count):
                bare(axes[row, column])
            axes[row, 0].text(-0.08, 0.5, name, rotation=90, ha="right", va="center", transform=axes[row, 0].transAxes)
        for column in range(count):
            for row in (0, rows - 1):
                axes[row, column].imshow(shown[column], cmap="gray" if grey else None, vmin=0, vmax=255)
            for row, (_, values) in enumerate(maps, 1):
                axes[row, column].imshow(_scaled(values[column]), cmap="inferno", vmin=0, vmax=1)
            if maps:
                axes[-1, column].imshow(_scaled(maps[-1][1][column]), cmap="inferno", vmin=0, vmax=1, alpha=0.6)
            axes[0, column].set_title(titles[column], fontsize=8)
        bright = "bright: the score of the class above depends\nstrongly on this pixel; each map has its own scale"
        drawn.supxlabel(bright, fontsize=7, color=OTHER)
        return drawn


def _scaled(values: F32) -> F32:
    """Scaled to 0 ... 1 and clipped at the 99th percentile, so that one bright pixel does not darken the rest."""
    top = float(np.percentile(values, 99))
    return np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values)


def filter_images(weights: Floats) -> U8:
    """(k, c, r, s) -> (k, r, s, 3): each filter is scaled to 0 ... 255 separately; a constant one is mid-grey.

    Three channels are colours. Any other number: their mean, in grey.
    """
    w = np.moveaxis(np.asarray(weights, np.float64), 1, 3)
    if w.shape[3] != 3:
        w = np.repeat(w.mean(axis=3, keepdims=True), 3, axis=3)
    flat = w.reshape(len(w), -1)
    low, span = flat.min(axis=1), np.ptp(flat, axis=1)
    scaled = np.where(span[:, None] > 0, (flat - low[:, None]) / np.where(span > 0, span, 1)[:, None], 0.5)
    images: U8 = np.rint(255 * scaled).astype(np.uint8).reshape(w.shape)
    return images


def draw_filters(weights: Floats, title: str) -> Figure:
    """A grid of all filters with their numbers."""
    images = filter_images(weights)
    columns = min(len(images), 8)
    rows = -(-len(images) // columns)
    with looks():
        drawn = figure(0.75 * columns + 0.4, 0.9 * rows + 0.5)
        drawn.suptitle(title, fontsize=10)
        axes = drawn.subplots(rows, columns, squeeze=False).reshape(-1)
        for axis in axes[len(images) :]:
            bare(axis)
        for number, (axis, image) in enumerate(zip(axes, images, strict=False)):
            axis.imshow(image, interpolation="nearest")
            axis.set_title(str(number), fontsize=6, pad=2)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(visible=True, color=OTHER, linewidth=0.5)  # shows the edges of white filters
        return drawn
