"""A sheet that shows augmentation: one row per image, first as evaluation sees it, then as training does."""

from __future__ import annotations

import logging

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dptrain.data.dataset import Dataset
from dptrain.data.shards import Pipeline
from dptrain.types import I64, U8

#: Looked for where Pillow looks for fonts.
_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "wqy-zenhei.ttc", "unifont.otf")
_log = logging.getLogger(__name__)
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
    pen, font = ImageDraw.Draw(sheet), _font("".join(dataset.classes))
    pen.text((_MARGIN + _GAP, 2), "original", "black", font)
    pen.text((_MARGIN + step_x + 3 * _GAP, 2), "in training", "black", font)
    for row, sample in enumerate(ids.tolist()):
        y = _TITLE + row * step_y
        label = int(dataset.train_labels[sample])
        name = dataset.classes[label] if _has(font, dataset.classes[label]) else f"class {label}"
        pen.text((_GAP, y + 2), f"{name[:18]}\nno. {sample}", "black", font)
        for column, images in enumerate(columns):
            x = _MARGIN + _GAP + column * step_x + (2 * _GAP if column else 0)
            sheet.paste(_picture(images[row], zoom), (x, y))
    return sheet


def _font(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font with these characters; the one of Pillow knows ASCII only. Logs a warning if none is installed."""
    default = ImageFont.load_default(12)
    if _has(default, text):
        return default
    for file in _FONTS:
        try:
            font = ImageFont.truetype(file, 12)
        except OSError:
            continue
        if _has(font, text):
            return font
    _log.warning("no installed font has all characters of the class names: numbers are shown for those it lacks")
    return default


def _has(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> bool:
    box = bytes(font.getmask("\uffff"))  # no character: what the font draws for those that it lacks
    return all(bytes(font.getmask(character)) != box for character in set(text) if character != " ")


def _picture(image: U8, zoom: int) -> Image.Image:
    """Enlarges without smoothing: every pixel becomes a square."""
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(image[..., :3].repeat(zoom, axis=0).repeat(zoom, axis=1)))
