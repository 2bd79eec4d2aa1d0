"""Image files -> pixels of a given size, by Pillow."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dptrain.errors import DataError
from dptrain.types import U8

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
#: Pillow's names of these formats. No other decoder is used: some of them start programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_MOST_PIXELS = 64_000_000  #: per file; a file of 50 kB can claim 10^10 pixels and fill the memory
_WIDE = (
    "I",
    "F",
    "I;16",
    "I;16B",
    "I;16L",
    "I;16N",
)  #: modes of more than 8 bits per value; a conversion clips


class Picture(NamedTuple):
    """An image file, and the region of it that is used."""

    path: Path
    box: tuple[int, int, int, int] | None = None  #: left, upper, right, lower; None: a center crop


def read_images(pictures: Sequence[Picture], shape: tuple[int, int, int]) -> U8:
    """(n, h, w, c): turned upright, converted to grey or colour, resized; with one thread per CPU.

    Raises DataError naming the first file that is wrong.
    """
    out = np.empty((len(pictures), *shape), np.uint8)

    def read(at: int) -> None:
        out[at] = _read(pictures[at], shape)

    with warnings.catch_warnings(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the lower limit; once for all threads
        try:
            for _ in pool.map(read, range(len(pictures))):
                pass
        except DataError:
            pool.shutdown(cancel_futures=True)
            raise
    return out


def _read(picture: Picture, shape: tuple[int, int, int]) -> U8:
    path = picture.path
    try:
        with Image.open(path, formats=_FORMATS) as file:
            return _pixels(file, picture, shape)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is no image (of {', '.join(_FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} has far too many pixels; at most {_MOST_PIXELS:,} are read") from error
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError) as error:  # all of Pillow's
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _pixels(file: Image.Image, picture: Picture, shape: tuple[int, int, int]) -> U8:
    height, width, channels = shape
    if file.width * file.height > _MOST_PIXELS:
        raise DataError(f"{picture.path} has {file.width} x {file.height} pixels; at most {_MOST_PIXELS:,} are read")
    if file.mode in _WIDE:
        raise DataError(f"{picture.path} has more than 8 bits per value (mode {file.mode}); save it with 8")
    mode = "L" if channels == 1 else "RGB"
    if picture.box is None:
        # A JPEG is decoded at a half, quarter or eighth where that is still twice what is wanted (a third of the time).
        file.draft(mode, (2 * width, 2 * height))
        image = ImageOps.exif_transpose(file).convert(mode)
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    else:
        left, upper, right, lower = picture.box
        if not (0 <= left < right <= file.width and 0 <= upper < lower <= file.height):
            raise DataError(f"{picture.path} is {file.width} x {file.height}; its region {picture.box} is outside")
        # resize() has a box of its own, but looks beyond its edges
        image = file.convert(mode).crop(picture.box).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(shape)


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder (not below it), by suffix, in order of names; hidden ones are left out."""
    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    return sorted(found)
