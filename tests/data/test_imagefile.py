"""Image files: turned, converted and resized; other, too large or truncated files are refused in one line."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from dptrain.data.imagefile import Picture, images_in, read_images
from dptrain.errors import DataError

SHAPE = (6, 8, 3)


def _gradient(width=16, height=12):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 90)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".jpg", ".webp", ".gif"])
def test_every_format_gives_the_same_picture(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(_gradient()).save(path)
    (x,) = read_images([Picture(path)], SHAPE)
    assert x.dtype == np.uint8
    assert x.shape == SHAPE
    wanted = np.asarray(Image.fromarray(_gradient()).resize((8, 6), Image.Resampling.BICUBIC), int)
    assert np.abs(x.astype(int) - wanted).mean() < (8 if suffix in (".jpg", ".gif", ".webp") else 0.01)


def test_a_picture_of_other_proportions_is_cut_in_the_middle(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    Image.fromarray(wide).save(tmp_path / "a.png")
    (x,) = read_images([Picture(tmp_path / "a.png")], (8, 8, 3))
    assert x[:, 1:7].min() > 230


def test_a_region_is_cut_out_before_resizing(tmp_path):
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[5:15, 2:8] = 200
    Image.fromarray(pixels).save(tmp_path / "a.ppm")
    (x,) = read_images([Picture(tmp_path / "a.ppm", (2, 5, 8, 15))], (4, 4, 3))
    assert np.all(x == 200)
    for box in ((2, 5, 2, 15), (0, 0, 21, 20), (5, 5, 4, 10)):
        with pytest.raises(DataError, match=r"a\.ppm is 20 x 20; its region .* is outside"):
            read_images([Picture(tmp_path / "a.ppm", box)], (4, 4, 3))


def test_grey_and_colour_and_transparency_are_converted_and_exif_turns(tmp_path):
    Image.new("L", (8, 6), 77).save(tmp_path / "grey.png")
    Image.new("RGBA", (8, 6), (10, 20, 30, 255)).save(tmp_path / "alpha.png")
    turned = Image.fromarray(_gradient())
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.all(read_images([Picture(tmp_path / "grey.png")], SHAPE) == 77)
    assert read_images([Picture(tmp_path / "alpha.png")], SHAPE)[0, 0, 0].tolist() == [10, 20, 30]
    assert read_images([Picture(tmp_path / "grey.png")], (6, 8, 1)).shape == (1, 6, 8, 1)
    (x,) = read_images([Picture(tmp_path / "turned.png")], (12, 16, 3))
    np.testing.assert_array_equal(x, _gradient()[::-1, ::-1])


def _png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def _jpeg():
    raw = io.BytesIO()
    Image.fromarray(_gradient(64, 48)).save(raw, "JPEG")
    return raw.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no image"),
        (b"hello, I am a text", "is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image (of BMP, GIF"),
        (_png_header(60_000, 60_000), "has far too many pixels; at most 64,000,000 are read"),
        (_png_header(10_000, 10_000), "has 10000 x 10000 pixels; at most 64,000,000 are read"),
        (_png_header(300, 300), "cannot be read"),
        (_jpeg()[:400], "cannot be read"),
        (_jpeg()[:-200], "cannot be read"),
        (b"P6 99999999999 1 255\n", ""),
        (b"BM" + bytes(60), ""),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(tmp_path, content, words):
    path = tmp_path / "broken.img"
    path.write_bytes(content)
    with pytest.raises(DataError) as e:
        read_images([Picture(path)], SHAPE)
    assert str(e.value).startswith(str(path))
    assert words in str(e.value)
    assert "\n" not in str(e.value)


def test_an_image_with_more_than_8_bits_is_refused_and_not_truncated(tmp_path):
    Image.fromarray(np.full((6, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits per value"):
        read_images([Picture(tmp_path / "deep.png")], SHAPE)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png cannot be read: No such file"):
        read_images([Picture(tmp_path / "gone.png")], SHAPE)


def test_many_are_read_in_order_and_one_bad_one_is_named(tmp_path):
    pictures = []
    for i in range(40):
        path = tmp_path / f"{i:03d}.png"
        Image.new("RGB", (4, 4), (i, 0, 0)).save(path)
        pictures.append(Picture(path))
    filters, threads = list(warnings.filters), threading.active_count()
    assert read_images(pictures, (4, 4, 3))[:, 0, 0, 0].tolist() == list(range(40))
    pictures[17].path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"017\.png is no image"):
        read_images(pictures, (4, 4, 3))
    assert warnings.filters == filters
    assert threading.active_count() == threads


def test_a_folder_lists_image_files_only(tmp_path):
    for name in ("b.PNG", "a.jpg", ".c.jpg", "notes.txt", "d.csv"):
        (tmp_path / name).write_text("")
    assert [p.name for p in images_in(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(DataError, match="cannot be read"):
        images_in(tmp_path / "gone")
