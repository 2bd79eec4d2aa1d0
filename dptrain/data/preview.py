"""A sheet that shows augmentation: one row per image, first as evaluation sees it, then as training does."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dptrain.data.dataset import Dataset
from dptrain.data.shards import Pipeline
from dptrain.types import I64, U8

_CELL = 72  #: pixels that a small image is enlarged to, at most
_GAP, _MARGIN, _TITLE, _EDGE = 4, 120, 18, 12


def draw(dataset: Dataset, pipeline: Pipeline, ids: I64, variants: int, seed: int) -> Image.Image:
    """ids: numbers of training images, one row each; variants: the first epochs of a training with this seed."""
    originals = dataset.train_images[ids]
    columns = [pipeline.still(originals), *(pipeline.apply(originals, ids, seed, e) for e in range(variants))]
    height, width, _ = columns[0].shape[1:]
    zoom = max(1, _CELL // max(height, width))
    step_y, step_x = height * zoom + _GAP, width * zoom + _GAP
    size = (_MARGIN + _GAP + step_x * (variants + 1) + _GAP + _EDGE, _TITLE + step_y * len(ids) - _GAP + _EDGE)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    pen.text((_MARGIN + _GAP, 2), "original", "black", font)
    pen.text((_MARGIN + step_x + 3 * _GAP, 2), "in training", "black", font)
    for row, sample in enumerate(ids.tolist()):
        y = _TITLE + row * step_y
        name = dataset.classes[int(dataset.train_labels[sample])]
        pen.text((_GAP, y + 2), f"{name[:18]}\nno. {sample}", "black", font)
        for column, images in enumerate(columns):
            x = _MARGIN + _GAP + column * step_x + (2 * _GAP if column else 0)
            sheet.paste(_picture(images[row], zoom), (x, y))
    return sheet


def _picture(image: U8, zoom: int) -> Image.Image:
    """Enlarges without smoothing: every pixel becomes a square."""
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(image[..., :3].repeat(zoom, axis=0).repeat(zoom, axis=1)))
