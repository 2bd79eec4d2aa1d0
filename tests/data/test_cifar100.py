"""CIFAR-100: both official layouts, fine and coarse classes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from dptrain.data.catalog import open_dataset
from dptrain.data.datasets import cifar100
from dptrain.errors import DataError


@pytest.fixture
def write(noise):
    def make(home, layout):
        for stream, (name, n) in enumerate((("train", 6), ("test", 3))):
            x, fine = noise((n, 3072), stream), (np.arange(n) * 17 + stream) % 100
            coarse = fine % 20
            if layout == "bin":
                records = np.concatenate([coarse[:, None], fine[:, None], x], axis=1).astype(np.uint8)
                path, raw = home / cifar100.BINARY / f"{name}.bin", records.tobytes()
            else:
                batch = {b"data": x, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
                path, raw = home / cifar100.PYTHON / name, pickle.dumps(batch, protocol=4)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        return home

    return make


def test_the_lists_of_classes_are_complete_and_in_order():
    assert (len(cifar100.FINE), len(cifar100.COARSE)) == (100, 20)
    assert list(cifar100.FINE) == sorted(set(cifar100.FINE))
    assert list(cifar100.COARSE) == sorted(set(cifar100.COARSE))


@pytest.mark.parametrize("option", ["", ":coarse"])
def test_both_layouts_are_the_same_data_set(tmp_path, write, option):
    sets = [open_dataset(f"cifar100{option}", str(write(tmp_path / layout, layout))) for layout in ("bin", "py")]
    assert sets[0].sha256 == sets[1].sha256
    labels = [0, 17, 34, 51, 68, 85]
    assert sets[0].train_labels.tolist() == [label % 20 if option else label for label in labels]
    assert len(sets[0].classes) == (20 if option else 100)
    assert sets[0].image_shape == (32, 32, 3)


def test_a_damaged_set_is_refused_by_name(tmp_path, write):
    home = write(tmp_path, "bin")
    path = home / cifar100.BINARY / "test.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test\.bin has 9221 bytes; records of 3074 bytes"):
        open_dataset("cifar100", str(home))
    path.write_bytes(bytes((0, 100)) + bytes(3072))
    with pytest.raises(DataError, match=r"test\.bin has a label 100; CIFAR-100 has classes 0 \.\.\. 99"):
        open_dataset("cifar100", str(home))
    path.unlink()
    with pytest.raises(DataError, match=r"test\.bin missing in"):
        open_dataset("cifar100", str(home))
