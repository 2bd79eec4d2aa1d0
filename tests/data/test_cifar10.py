"""CIFAR-10: both official layouts give the same set, and what is wrong with one is said in one line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from dptrain.data.catalog import open_dataset
from dptrain.data.datasets import cifar10
from dptrain.errors import DataError


def test_both_layouts_are_the_same_data_set(tmp_path, write_cifar):
    write_cifar(tmp_path / "a" / cifar10.BINARY, "bin")
    write_cifar(tmp_path / "b" / cifar10.PYTHON, "py")
    a, b = (open_dataset("cifar10", str(tmp_path / folder)) for folder in "ab")
    assert a.sha256 == b.sha256
    assert a.manifest() == b.manifest()
    assert a.train_images.shape == (20, 32, 32, 3)
    assert a.test_images.shape == (4, 32, 32, 3)


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_planes_become_pixels_and_batches_follow_one_another(tmp_path, write_cifar, noise, layout):
    folder = write_cifar(tmp_path / "x", layout)
    train, test = cifar10.read(cifar10.files(folder))
    second = noise((4, 3072), stream=1)  # what data_batch_2 was made of
    for channel in range(3):
        plane = second[2, channel * 1024 : (channel + 1) * 1024].reshape(32, 32)
        np.testing.assert_array_equal(train.images[4 + 2, :, :, channel], plane)
    assert train.labels[:8].tolist() == [0, 3, 6, 9, 1, 4, 7, 0]
    assert test.labels.tolist() == [5, 8, 1, 4]


def _binary(change):
    def act(folder):
        path = folder / "data_batch_2.bin"
        path.write_bytes(change(path.read_bytes()))

    return act


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_binary(lambda raw: raw[:-1]), "data_batch_2.bin has 12291 bytes; records of 3073 bytes do not fill it"),
        (_binary(lambda _: b""), "data_batch_2.bin has 0 bytes"),
        (_binary(lambda raw: raw[:-3073]), "data_batch_2.bin holds 3 images, data_batch_1.bin 4"),
        (_binary(lambda raw: b"\x0a" + raw[1:]), "data_batch_2.bin has a label 10; CIFAR-10 has classes 0 ... 9"),
        (lambda folder: (folder / "test_batch.bin").unlink(), "test_batch.bin missing in"),
    ],
)
def test_a_damaged_binary_set_is_refused_by_name(tmp_path, write_cifar, change, words):
    change(write_cifar(tmp_path / cifar10.BINARY, "bin"))
    with pytest.raises(DataError) as e:
        open_dataset("cifar10", str(tmp_path))
    assert words in str(e.value)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "cache").exists(), "nothing half-read is kept"


X = np.zeros((4, 3072), np.uint8)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"labels": [1, 2, 3, 4]}, '"data" is missing'),
        ({"data": X[:, :1024], "labels": [1, 2, 3, 4]}, '"data" is of shape (4, 1024)'),
        ({"data": X}, '"labels" are missing'),
        ({"data": X, "labels": [1, 2, 3, "4"]}, '"labels" are missing or not a list of class numbers'),
        ({"data": X, "labels": [1, 2, 3, True]}, '"labels" are missing or not a list of class numbers'),
        ({"data": X, "labels": [1, 2, 3, -4]}, '"labels" are missing or not a list of class numbers'),
        ({"data": X, "labels": [1, 2, 3]}, "holds 4 images and 3 labels"),
        ({"data": X, "labels": [1, 2, 3, 10]}, "has a label 10"),
        ([1, 2], "holds a list, not the dictionary"),
    ],
)
def test_a_python_batch_with_other_contents_is_refused_by_name(tmp_path, write_cifar, batch, words):
    folder = write_cifar(tmp_path / cifar10.PYTHON, "py")
    (folder / "data_batch_3").write_bytes(pickle.dumps(batch, protocol=4))
    with pytest.raises(DataError) as e:
        open_dataset("cifar10", str(tmp_path))
    assert words in str(e.value)
    assert "data_batch_3" in str(e.value)


def test_the_real_set_is_the_same_in_both_layouts(tmp_path):
    given = os.environ.get("CIFAR10_DIR")
    if not given or not all((Path(given) / layout).is_dir() for layout in (cifar10.BINARY, cifar10.PYTHON)):
        pytest.skip("CIFAR10_DIR does not name a folder with both layouts of the real CIFAR-10")
    parts = [cifar10.read(cifar10.files(Path(given) / layout)) for layout in (cifar10.BINARY, cifar10.PYTHON)]
    for binary, python in zip(*parts, strict=True):
        np.testing.assert_array_equal(binary.images, python.images)
        np.testing.assert_array_equal(binary.labels, python.labels)
    assert [len(part.labels) for part in parts[0]] == [50_000, 10_000]
