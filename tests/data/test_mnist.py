"""IDX files: sound files are read; the fault of a damaged one is named in one line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from dptrain.data.datasets import mnist
from dptrain.data.datasets.mnist import read_idx
from dptrain.errors import DataError

IMAGES = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
RAW = b"\0\0\x08\x03" + b"\0\0\0\x05" + b"\0\0\0\x04" + b"\0\0\0\x03" + bytes(range(60))
LABELS = b"\0\0\x08\x01" + b"\0\0\0\x05" + bytes(range(5))


@pytest.mark.parametrize("content", [RAW, gzip.compress(RAW)], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_an_array_is_read_packed_or_not_whatever_the_name(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    np.testing.assert_array_equal(read_idx(path, 3), IMAGES)


def _damaged_middle(packed):
    return packed[:30] + bytes([packed[30] ^ 255]) + packed[31:]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with nothing"),
        (b"<html>404", "begins with 3c 68 74 6d"),
        (LABELS, "begins with 00 00 08 01; an IDX file of unsigned bytes with 3"),
        (b"\0\0\x0d\x03" + RAW[4:], "begins with 00 00 0d 03"),
        (RAW[:9], "ends after 9 bytes, inside its header"),
        (RAW[:-1], "holds 59 bytes of data; its header (5, 4, 3) wants 60"),
        (RAW + b"\0", "holds 61 bytes of data; its header (5, 4, 3) wants 60"),
        (RAW[:4] + b"\xff" * 12 + RAW[16:], "its header (4294967295, 4294967295, 4294967295) wants"),
        (gzip.compress(RAW)[:-12], "damaged gzip"),
        (_damaged_middle(gzip.compress(RAW)), "damaged gzip"),
        (gzip.compress(RAW)[:5], "damaged gzip"),
        (gzip.compress(RAW) + b"rest", "damaged gzip"),
        (gzip.compress(RAW[:-1]), "holds 59 bytes"),
    ],
)
def test_a_wrong_file_is_refused_by_name_in_one_line(tmp_path, content, words):
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as e:
        read_idx(path, 3)
    assert words in str(e.value)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


def test_an_unreadable_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"labels cannot be read: No such file"):
        read_idx(tmp_path / "labels", 1)


def test_a_file_that_unpacks_to_far_too_much_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "_MOST_BYTES", 100_000)
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(RAW + bytes(10_000_000)))
    with pytest.raises(DataError, match=r"bomb\.gz holds more than 100,000 bytes when unpacked: refused"):
        read_idx(bomb, 3)
    (tmp_path / "plain").write_bytes(bytes(100_001))
    with pytest.raises(DataError, match="plain holds more than 100,000 bytes: refused"):
        read_idx(tmp_path / "plain", 3)
