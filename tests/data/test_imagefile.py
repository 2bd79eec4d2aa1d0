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

from dptrain.data.imagefile import Picture, read_images
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


INK = ((2, 2), (7, 3), (5, 9))  #: black points of a drawing


def _drawing(mode):
    """Black ink on a transparent ground whose hidden colour is black, as drawing programs save it."""
    image = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
    for point in INK:
        image.putpixel(point, (0, 0, 0, 255))
    if mode == "P":
        palette = image.convert("RGB").quantize(2)
        palette.putdata([1 if image.getpixel((x, y))[3] else 0 for y in range(12) for x in range(12)])
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.info["transparency"] = 0
        return palette
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix", "options"),
    [
        ("RGBA", "png", {}),
        ("LA", "png", {}),
        ("P", "png", {"transparency": 0}),
        ("P", "gif", {"transparency": 0}),
        ("RGBA", "webp", {"lossless": True}),
        ("RGBA", "tif", {}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_picture_is_laid_on_white_whatever_its_format(tmp_path, mode, suffix, options, channels):
    path = tmp_path / f"a.{suffix}"
    _drawing(mode).save(path, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as PYTHONWARNINGS=error
        (x,) = read_images([Picture(path)], (12, 12, channels))
    dark = {(x_, y_) for y_, x_ in np.argwhere(x[..., 0] < 128)}
    assert dark == set(INK)
    assert x.max() == 255


def test_what_transparent_pixels_are_laid_on_can_be_chosen_and_half_transparent_ones_are_mixed(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "a.png")
    for fill in (0, 100, 255):
        (x,) = read_images([Picture(tmp_path / "a.png", fill=fill)], (4, 4, 3))
        assert x[0, 0].tolist() == pytest.approx([fill + (255 - fill) * 128 / 255, *[fill * 127 / 255] * 2], abs=1)


def test_all_wrong_files_are_counted_and_the_first_is_named(tmp_path):
    pictures = []
    for i in range(5):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(b"" if i in (1, 3) else _jpeg())
        pictures.append(Picture(path))
    with pytest.raises(DataError, match=r"1\.jpg is no image .*: it is an empty file \(and 1 other file is wrong"):
        read_images(pictures, SHAPE)


def test_a_file_of_another_kind_under_the_name_of_a_picture_is_called_what_it_is(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(DataError, match=r"a\.jpg is no image .*: it is a HEIC file"):
        read_images([Picture(tmp_path / "a.jpg")], SHAPE)
