"""Public bug reports about tools that load images, tried here. docs/LOG.md has the list with the outcomes."""

from __future__ import annotations

import io
import struct
import unicodedata
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from dptrain.data.catalog import open_dataset
from dptrain.data.dataset import split
from dptrain.data.imagefile import Picture, read_images
from dptrain.data.install import add
from dptrain.errors import DataError

HEIGHT, WIDTH = 24, 32
PIXELS = np.stack([*np.mgrid[:HEIGHT, :WIDTH] * 7, np.full((HEIGHT, WIDTH), 90)], axis=-1).astype(np.uint8)
PICTURE = Image.fromarray(PIXELS)
RED = Image.new("RGB", (WIDTH, HEIGHT), "red")


def _saved(form, image=PICTURE, **options):
    raw = io.BytesIO()
    image.save(raw, form, **options)
    return raw.getvalue()


def _jpeg_with(payload):
    """A segment APP1 behind the first marker."""
    raw = _saved("JPEG", quality=95)
    return raw[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + raw[2:]


def _png_with(payload):
    """A chunk eXIf before the pixels."""
    raw = _saved("PNG")
    at = raw.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(payload)) + b"eXIf" + payload + struct.pack(">I", zlib.crc32(b"eXIf" + payload))
    return raw[:at] + chunk + raw[at:]


def _exif(kind, count, value):
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01" + struct.pack("<HI", kind, count) + value + bytes(4)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_jpeg_with(b"Exif\0\0"), id="EXIF is only a header: Pillow#6123"),
        pytest.param(_jpeg_with(b"Exif\0\0" + _exif(3, 1, b"\1\0\0\0")), id="EXIF begins twice: Pillow#8348"),
        pytest.param(_png_with(b"\0\x08\0\2\1\x12\0\3"), id="EXIF of a PNG is no TIFF: Pillow#5528"),
        pytest.param(_jpeg_with(_exif(3, 0, b"\6\0\0\0")), id="EXIF with an empty value: Pillow#4215"),
        pytest.param(_jpeg_with(_exif(2, 2, b"6\0\0\0")), id="EXIF orientation is text: Pillow#4215"),
        pytest.param(_jpeg_with(b""), id="APP1 is malformed: Pillow#7456"),
        pytest.param(
            _saved("JPEG", quality=95)[:-2] + bytes(245) + b"\xff\xd9", id="extraneous bytes: tensorflow/models#2194"
        ),
        pytest.param(_saved("GIF"), id="GIF under the name .jpg: tensorflow/models#2194"),
        pytest.param(_saved("PNG"), id="PNG under the name .jpg: tensorflow/models#2194"),
        pytest.param(_saved("JPEG", PICTURE.convert("CMYK"), quality=95), id="CMYK: vlfeat/matconvnet#91"),
        pytest.param(_saved("TIFF", PICTURE.convert("CMYK")), id="CMYK: visipedia/inat_comp#9"),
        pytest.param(_saved("GIF", save_all=True, append_images=[RED]), id="animation: tensorflow#8572"),
        pytest.param(_saved("PNG", save_all=True, append_images=[RED]), id="animated PNG: tensorflow#41549"),
        pytest.param(_saved("TIFF", save_all=True, append_images=[RED]), id="pages of a TIFF: tensorflow/io#1527"),
        pytest.param(_saved("PNG", PICTURE.quantize(200)), id="palette: layumi/University1652-Baseline#17"),
    ],
)
def test_an_odd_file_shows_the_picture_that_a_viewer_shows(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (x,) = read_images([Picture(path)], (HEIGHT, WIDTH, 3))
    assert np.abs(x.astype(int) - PIXELS).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9), ids=lambda n: f"orientation {n}: kohya-ss/sd-scripts#1316")
def test_photographs_are_turned_as_their_exif_data_say(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {1: PICTURE} | {
        number: PICTURE.transpose(method) for number, method in ((2, 0), (3, 3), (4, 1), (5, 5), (6, 2), (7, 6), (8, 4))
    }
    stored[orientation].save(tmp_path / "a.jpg", quality=95, exif=exif)
    (x,) = read_images([Picture(tmp_path / "a.jpg")], (HEIGHT, WIDTH, 3))
    assert np.abs(x.astype(int) - PIXELS).mean() < 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "is no image .*: it is an empty file", id="empty: tensorflow/datasets#2188"),
        pytest.param(b"<html>Not found", "is no image .*: it is a HTML file", id="page of errors: tensorflow#7434"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer", id="pointer: Git LFS"),
        pytest.param(_saved("JPEG")[:-200], "cannot be read: ", id="truncated: pytorch/vision#138"),
        pytest.param(
            _saved("PNG", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)),
            "more than 8 bits",
            id="16 bits of grey: Pillow#3011",
        ),
        pytest.param(
            _saved("TIFF", Image.fromarray(PIXELS[..., 0].astype(np.float32))),
            "more than 8 bits",
            id="floats: Pillow#3159",
        ),
    ],
)
def test_a_file_that_would_give_wrong_pixels_is_named_with_the_reason(tmp_path, content, words):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_images([Picture(path)], (HEIGHT, WIDTH, 3))


def _folders(root, names, count=10, suffix="png"):
    for label, name in enumerate(names):
        for at in range(count):
            path = root / name / f"{at}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (20 * label, 20 * at, len(str(root)) % 50)).save(path, "PNG")
    return root


def test_numbers_as_names_of_classes_stay_with_their_pictures(tmp_path):
    """pytorch/vision#714."""
    _folders(tmp_path / "x", [str(number) for number in range(1, 12)])
    found = open_dataset("folder:x:4x4", str(tmp_path))
    assert found.classes[:4] == ("1", "10", "11", "2"), "in order of names, as documented"
    red = [20 * (int(found.classes[label]) - 1) for label in found.train_labels]
    assert found.train_images[:, 0, 0, 0].tolist() == red


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    """pytorch/vision#192, keras#6418."""
    _folders(tmp_path / "x", ["b", "a"])
    plain = open_dataset("folder:x:4x4", str(tmp_path)).sha256
    import os

    original = os.scandir

    class Backwards:
        def __init__(self, path):
            with original(path) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            """Nothing to close."""

    monkeypatch.setattr("dptrain.data.walk.os.scandir", Backwards)
    (tmp_path / "cache").rename(tmp_path / ".cache")
    assert open_dataset("folder:x:4x4", str(tmp_path)).sha256 == plain


def test_suffixes_in_capitals_are_read(tmp_path):
    """datumaro#151."""
    _folders(tmp_path / "x", ["a", "b"], suffix="JPEG")
    assert open_dataset("folder:x:4x4", str(tmp_path)).train_labels.size == 18


def test_an_empty_folder_of_a_class_is_named(tmp_path):
    """pytorch/vision#8297."""
    _folders(tmp_path / "x", ["a", "b"])
    (tmp_path / "x" / "c").mkdir()
    with pytest.raises(DataError, match="c holds no image file"):
        open_dataset("folder:x:4x4", str(tmp_path))


def test_validation_images_are_drawn_from_all_classes(tmp_path):
    """keras#14277."""
    _folders(tmp_path / "x", ["a", "b", "c"], count=40)
    found = open_dataset("folder:x:4x4", str(tmp_path))
    parts = split(found, 30)
    assert set(found.train_labels[parts.validation].tolist()) == {0, 1, 2}
    assert not set(parts.train.tolist()) & set(parts.validation.tolist())


def test_pictures_in_both_parts_are_counted(tmp_path, caplog):
    """TNCR_Dataset#3."""
    _folders(tmp_path / "x" / "train", ["a", "b"])
    _folders(tmp_path / "x" / "test", ["a", "b"], count=3)
    for at in range(2):
        (tmp_path / "x" / "test" / "a" / f"{at}.png").write_bytes(
            (tmp_path / "x" / "train" / "a" / f"{at}.png").read_bytes()
        )
    open_dataset("folder:x:4x4", str(tmp_path))
    assert "2 of 6 test images are training images as well" in caplog.text


def test_names_of_classes_that_macos_decomposed_are_those_of_linux(tmp_path):
    names = [unicodedata.normalize(form, "café") for form in ("NFD", "NFC")]
    assert names[0] != names[1]
    _folders(tmp_path / "x" / "train", [names[0], "b"])
    _folders(tmp_path / "x" / "test", [names[1], "b"], count=2)
    assert open_dataset("folder:x:4x4", str(tmp_path)).classes == ("b", names[1])
    _folders(tmp_path / "x" / "train", [names[1]])
    with pytest.raises(DataError, match="has two folders called 'café', in two spellings"):
        open_dataset("folder:x:4x4", str(tmp_path))


@pytest.mark.parametrize("flagged", [True, False], ids=["with the flag", "without the flag: mirdata#306"])
def test_names_in_an_archive_are_read_as_utf8_whether_it_says_so_or_not(tmp_path, flagged):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        for name in ("café", "猫"):
            for at in range(5):
                info = zipfile.ZipInfo(f"{name}/{at}.png")
                bundle.writestr(info, _saved("PNG", Image.new("RGB", (4, 4), (at, len(name), 0))))
    raw = (tmp_path / "x.zip").read_bytes()
    if not flagged:
        raw = raw.replace(b"PK\3\4\x14\0\0\x08", b"PK\3\4\x14\0\0\0").replace(b"\x14\0\0\x08\0\0", b"\x14\0\0\0\0\0")
        (tmp_path / "x.zip").write_bytes(raw)
    with zipfile.ZipFile(tmp_path / "x.zip") as bundle:
        assert {bool(info.flag_bits & 0x800) for info in bundle.infolist()} == {flagged}
    add("folder:x", (tmp_path / "x.zip",), tmp_path / "home")
    assert open_dataset("folder:x:4x4", str(tmp_path / "home")).classes == ("café", "猫")


def test_backslashes_between_folders_of_an_archive_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        bundle.writestr("a\\1.png", _saved("PNG"))
    with pytest.raises(DataError, match="with backslashes between folders: pack it again"):
        add("folder:x", (tmp_path / "x.zip",), tmp_path / "home")
