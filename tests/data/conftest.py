"""Small data sets in the official layouts."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from dptrain.data.dataset import Part, assemble, warn_once
from dptrain.kernels import philox


@pytest.fixture(scope="session")
def noise():
    """A function (shape, stream) -> uint8 array."""
    return _noise


@pytest.fixture(scope="session")
def python2_pickle():
    """A function (name, x, y) -> the bytes of one CIFAR batch; x: (n, 3072), y: (n,)."""
    return _python2_pickle


@pytest.fixture(scope="session")
def write_cifar():
    """A function (folder, "bin" or "py") -> folder, with six batches; the same contents in both layouts."""
    return _write_cifar


@pytest.fixture(scope="session")
def write_idx():
    """A function (folder, packed) -> folder, with the four files of an MNIST of 12 + 5 images of 6 x 5 pixels."""
    return _write_idx


def _noise(shape, stream=0):
    count = int(np.prod(shape))
    return (philox.words(11, 97, 0, stream, count) >> 24).astype(np.uint8).reshape(shape)


def _idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def _python2_pickle(name, x, y):
    """One CIFAR batch as the official files hold it: protocol 2, written by Python 2. x: (n, 3072), y: (n,)."""

    def text(b):
        return b"U" + bytes([len(b)]) + b

    def num(i):
        return b"K" + bytes([i]) if i < 256 else b"M" + struct.pack("<H", i)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + num(0) + b"\x85" + text(b"b") + b"\x87R"
        b"(" + num(1) + num(x.shape[0]) + num(x.shape[1]) + b"\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + num(0) + num(1) + b"\x87R"
        b"(" + num(3) + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + num(0) + b"tb"
        b"\x89T" + struct.pack("<i", x.size) + x.tobytes() + b"tb"
    )
    labels = b"](" + b"".join(num(int(v)) for v in y) + b"e"
    return b"\x80\x02}(" + text(b"batch_label") + text(name) + text(b"labels") + labels + text(b"data") + array + b"u."


def _write_cifar(folder, layout, per_batch=4):
    """Six batches; the same contents in both layouts."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        x = _noise((per_batch, 3072), stream=i)
        y = (np.arange(per_batch) * 3 + i).astype(np.uint8) % 10
        if layout == "bin":
            (folder / f"{name}.bin").write_bytes(np.concatenate([y[:, None], x], axis=1).tobytes())
        else:
            (folder / name).write_bytes(_python2_pickle(name.encode(), x, y))
    return folder


def _write_idx(folder, packed=True, train=12, test=5):
    folder.mkdir(parents=True, exist_ok=True)
    for stream, (prefix, n) in enumerate((("train", train), ("t10k", test))):
        arrays = {
            "images-idx3-ubyte": _noise((n, 6, 5), stream),
            "labels-idx1-ubyte": np.arange(n, dtype=np.uint8) % 10,
        }
        for name, array in arrays.items():
            raw = _idx_bytes(array)
            path = folder / f"{prefix}-{name}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(raw) if packed else raw)
    return folder


@pytest.fixture
def small():
    """A function (train, test) -> a data set whose image i has all pixels i."""

    def make(train=50, test=20, side=8):
        def part(n):
            images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, side, side, 3)).copy()
            return Part(images, np.arange(n) % 10)

        return assemble("small", tuple("abcdefghij"), part(train), part(test))

    return make


@pytest.fixture(autouse=True)
def nothing_said_yet():
    """A test hears a warning that an earlier test has caused, too."""
    warn_once.cache_clear()


@pytest.fixture(autouse=True)
def no_data_of_this_machine(monkeypatch, tmp_path):
    """No test sees, or writes to, the data sets of the user who runs it."""
    monkeypatch.delenv("DPTRAIN_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("dptrain.data.datasets.fashion_mnist.DEBIAN", tmp_path / "debian")
