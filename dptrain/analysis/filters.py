"""The filters of a first layer as small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dptrain.analysis.drawing import OTHER, bare, figure, looks
from dptrain.types import U8, Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filter_images(weights: Floats) -> U8:
    """(k, c, r, s) -> (k, r, s, 3): each filter stretched to 0 ... 255 by itself; a constant one is mid-grey.

    Three channels are colours. One is grey. Other numbers of channels: their mean, in grey.
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
    """All of them in a grid, each with its number."""
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
            axis.spines[:].set(visible=True, color=OTHER, linewidth=0.5)  # white weights end somewhere too
        return drawn
