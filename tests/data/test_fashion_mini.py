"""The embedded set: what the committed file holds, and that the committed script makes it."""

from __future__ import annotations

import hashlib
import importlib.util
import lzma
from importlib.resources import files

import numpy as np
import pytest

from dptrain.data.datasets import fashion_mini
from dptrain.errors import DataError

EMBEDDED = files("dptrain.data") / "embedded"
CONTENT = "8bee4f463d98d32894e1b1263be7b7bd9754aea1f0be280ea19cab5f2e331d45"  # of the unpacked file
DATASET = "93a7a429e4157547c4cefcc50f993fa58e702eee4ba7bf1741b44f87d76c0207"


@pytest.fixture(scope="module")
def make(root):
    """tools/make_fashion_mini.py as a module."""
    spec = importlib.util.spec_from_file_location("make_fashion_mini", root / "tools" / "make_fashion_mini.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_file_is_the_one_that_was_made():
    packed = (EMBEDDED / fashion_mini.FILE).read_bytes()
    assert len(packed) < 2_700_000
    assert hashlib.sha256(lzma.decompress(packed, format=lzma.FORMAT_XZ)).hexdigest() == CONTENT


def test_the_data_set_has_600_and_100_images_per_class():
    d = fashion_mini.load()
    assert d.sha256 == DATASET
    assert d.image_shape == (28, 28, 1)
    assert np.bincount(d.train_labels).tolist() == [600] * 10
    assert np.bincount(d.test_labels).tolist() == [100] * 10
    assert len(d.classes) == 10


def test_the_licence_is_beside_the_file():
    text = (EMBEDDED / "LICENSE.fashion-mnist").read_text()
    assert "Copyright (c) 2017 Zalando SE" in text
    assert "Permission is hereby granted, free of charge" in text


def test_a_damaged_installation_is_reported_in_one_line(monkeypatch, tmp_path):
    folder = tmp_path / "embedded"
    folder.mkdir()
    monkeypatch.setattr(fashion_mini, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\): install dptrain again"):
        fashion_mini.load()
    (folder / fashion_mini.FILE).write_bytes((EMBEDDED / fashion_mini.FILE).read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"damaged .*: install dptrain again"):
        fashion_mini.load()


def test_the_script_keeps_the_first_images_of_each_class_in_their_order(make):
    labels = np.array([1, 0, 1, 1, 0, 0, 2], np.uint8)
    assert make.first_of_each_class(labels, 2).tolist() == [True, True, True, False, True, False, True]


def test_the_script_packs_the_same_bytes_every_time(make):
    raw = bytes(range(256)) * 20
    assert make.compress(raw) == make.compress(raw)
    assert lzma.decompress(make.compress(raw)) == raw


def test_the_script_refuses_another_source(make, tmp_path, write_idx):
    with pytest.raises(DataError, match="has neither train-labels-idx1-ubyte nor"):
        make.payload(tmp_path)
    write_idx(tmp_path)
    with pytest.raises(DataError, match=r"unpacked has SHA-256 .*, the published one is bad3541b"):
        make.payload(tmp_path)


def test_the_script_makes_the_committed_content_from_the_full_set(make):
    if not make.DEFAULT_FOLDER.is_dir():
        pytest.skip(f"{make.DEFAULT_FOLDER} is not there (apt install dataset-fashion-mnist)")
    assert hashlib.sha256(make.payload(make.DEFAULT_FOLDER)).hexdigest() == CONTENT
