"""Makes dptrain/data/embedded/fashion-mini.xz from the full Fashion-MNIST. The same input gives the same file.

    python tools/make_fashion_mini.py [FOLDER_WITH_THE_FOUR_IDX_FILES] [OUTPUT]

Default folder: /usr/share/datasets/fashion-mnist (Debian and Ubuntu: apt install dataset-fashion-mnist).
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dptrain.data.datasets import fashion_mini
from dptrain.data.datasets.mnist import read_idx
from dptrain.errors import DataError
from dptrain.types import U8

#: SHA-256 of each file after gunzip, as published; gzip headers differ from mirror to mirror.
SOURCES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
#: Preset 9 | EXTREME written out, but with a window of 8 instead of 64 MiB, which every reader would have to allocate.
#: Other lc/lp/pb are no smaller: (3, 0, 2) 2,632,976 bytes, (4, 0, 0) 2,633,448, (0, 0, 0) 2,714,216.
FILTERS = [
    {
        "id": lzma.FILTER_LZMA2,
        "dict_size": 1 << 23,
        "lc": 3,
        "lp": 0,
        "pb": 2,
        "mode": lzma.MODE_NORMAL,
        "nice_len": 273,
        "mf": lzma.MF_BT4,
        "depth": 512,
    }
]
DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEFAULT_OUTPUT = Path(__file__).parents[1] / "dptrain" / "data" / "embedded" / fashion_mini.FILE


def encode_idx(array: U8) -> bytes:
    """The bytes of an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def first_of_each_class(labels: U8, count: int) -> NDArray[np.bool_]:
    """True for the first `count` samples of every class."""
    keep = np.zeros(labels.shape, np.bool_)
    for label in np.unique(labels):
        keep[np.flatnonzero(labels == label)[:count]] = True
    return keep


def source(folder: Path, name: str, dims: int) -> U8:
    """One of the four files, gzipped or not, checked against its published digest."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise DataError(
            f"{folder} has neither {name} nor {name}.gz: apt install dataset-fashion-mnist, or name a folder"
        )
    array = read_idx(path, dims)
    digest = hashlib.sha256(encode_idx(array)).hexdigest()
    if digest != SOURCES[name]:
        raise DataError(f"{path} unpacked has SHA-256 {digest}, the published one is {SOURCES[name]}")
    return array


def payload(folder: Path) -> bytes:
    """The four small IDX arrays, one after another."""
    out = b""
    for prefix, count in (("train", fashion_mini.TRAIN), ("t10k", fashion_mini.TEST)):
        labels = source(folder, f"{prefix}-labels-idx1-ubyte", 1)
        keep = first_of_each_class(labels, count)
        out += encode_idx(source(folder, f"{prefix}-images-idx3-ubyte", 3)[keep]) + encode_idx(labels[keep])
    return out


def compress(raw: bytes) -> bytes:
    """One .xz stream."""
    return lzma.compress(raw, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=FILTERS)


def main() -> None:
    """Reads, writes, and prints the digests that the tests hold the file to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("output", nargs="?", type=Path, default=DEFAULT_OUTPUT)
    options = parser.parse_args()
    raw = payload(options.folder)
    packed = compress(raw)
    options.output.write_bytes(packed)
    print(f"{options.output}: {len(packed):,} bytes")
    print(f"unpacked {len(raw):,} bytes, SHA-256 {hashlib.sha256(raw).hexdigest()}")
    print(f"data set SHA-256 {fashion_mini.decode(raw).sha256}")


if __name__ == "__main__":
    main()
