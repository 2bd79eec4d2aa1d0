"""Image files -> pixels of a given size, by Pillow."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
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
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
WHITE = 255  #: what transparent pictures are laid on
#: How the content of a file begins, at which byte -> its kind. Those that are not in FORMATS are not read.
_BEGINNINGS = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WEBP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    *((0, b"P%d%c" % (digit, blank), "PPM") for digit in range(1, 7) for blank in b" \t\r\n"),
    (4, b"ftypavif", "AVIF"),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"version https://git-lfs", "Git LFS pointer"),
    (0, b"<svg", "SVG"),
    *((0, mark, "HTML") for mark in (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")),
)
_MOST_PIXELS = 64_000_000  #: per file; a file of 50 kB can claim 10^10 pixels and fill the memory
#: What Pillow raises for damaged files, found by its own tests and by fuzzing.
_OF_PILLOW = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    MemoryError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
)
_WIDE = (
    "I",
    "F",
    "I;16",
    "I;16B",
    "I;16L",
    "I;16N",
)  #: modes of more than 8 bits per value; a conversion clips


class Picture(NamedTuple):
    """An image file, the region of it that is used, and what is seen through its transparent pixels."""

    path: Path
    box: tuple[int, int, int, int] | None = None  #: left, upper, right, lower; None: a center crop
    fill: int = WHITE  #: grey value, 0 (black) to 255 (white)


def read_images(pictures: Sequence[Picture], shape: tuple[int, int, int]) -> U8:
    """(n, h, w, c): turned upright, laid on `fill` where transparent, converted to grey or colour, resized.

    One thread per CPU. Raises DataError naming the first file that is wrong, and how many others are.
    """
    out = np.empty((len(pictures), *shape), np.uint8)

    def read(at: int) -> str:
        try:
            out[at] = _read(pictures[at], shape)
        except DataError as error:
            return str(error)
        return ""

    with warnings.catch_warnings(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        # Pillow warns about what it reads all the same; where it cannot read a file, it raises. Once for all threads.
        warnings.simplefilter("ignore")
        wrong = [text for text in pool.map(read, range(len(pictures))) if text]
    if wrong:
        noun = "files are" if len(wrong) > 2 else "file is"
        more = f" (and {len(wrong) - 1:,} other {noun} wrong as well)" if len(wrong) > 1 else ""
        raise DataError(f"{wrong[0]}{more}")
    return out


def kind_of(path: Path) -> str:
    """The kind of file that the content begins like, such as "PNG"; "": none that is known. Raises DataError."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return next((kind for at, mark, kind in _BEGINNINGS if head[at : at + len(mark)] == mark), "")


def _read(picture: Picture, shape: tuple[int, int, int]) -> U8:
    path = picture.path
    try:
        with Image.open(path, formats=FORMATS) as file:
            return _pixels(file, picture, shape)
    except UnidentifiedImageError as error:
        kind = kind_of(path)
        found = (
            "an empty file" if path.stat().st_size == 0 else f"a {kind} file" if kind and kind not in FORMATS else ""
        )
        raise DataError(f"{path} is no image (of {', '.join(FORMATS)}){f': it is {found}' if found else ''}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} has far too many pixels; at most {_MOST_PIXELS:,} are read") from error
    except _OF_PILLOW as error:
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
        image = opaque(_upright(file), mode, picture.fill)
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    else:
        left, upper, right, lower = picture.box
        if not (0 <= left < right <= file.width and 0 <= upper < lower <= file.height):
            raise DataError(f"{picture.path} is {file.width} x {file.height}; its region {picture.box} is outside")
        # resize() has a box of its own, but looks beyond its edges
        image = opaque(file, mode, picture.fill).crop(picture.box).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(shape)


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data say; as it is stored if they are damaged, as every viewer shows it."""
    try:
        image.getexif()
    except _OF_PILLOW:
        return image
    return ImageOps.exif_transpose(image)


def opaque(image: Image.Image, mode: str, fill: int = WHITE) -> Image.Image:
    """The image in mode "L" or "RGB", transparent pixels laid on `fill`: a conversion alone would drop the alpha."""
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (fill, fill, fill, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image.convert(mode)
