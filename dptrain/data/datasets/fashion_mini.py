"""The embedded data set: the first 600 training and 100 test images of each class of Fashion-MNIST, in their order.

embedded/fashion-mini.xz (MIT, (c) 2017 Zalando SE, see embedded/LICENSE.fashion-mnist) holds four whole IDX arrays in
this order: training images, training labels, test images, test labels. tools/make_fashion_mini.py makes it.
"""

from __future__ import annotations

import lzma
from importlib.resources import files

import numpy as np

from dptrain.data.dataset import Dataset, Part, assemble
from dptrain.data.datasets.mnist import parse_idx
from dptrain.data.descriptor import Descriptor, Form
from dptrain.errors import DataError

NAME = "fashion-mini"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
TRAIN, TEST = 600, 100  #: images per class
FILE = "fashion-mini.xz"


def load() -> Dataset:
    """Unpacks it; 5.5 MB in memory, about 0.15 s (measured). Raises DataError if the installed file is damaged."""
    source = files("dptrain.data") / "embedded" / FILE
    try:
        return decode(lzma.decompress(source.read_bytes()))
    except OSError as e:
        raise DataError(f"the embedded data set {source} cannot be read ({e.strerror}): install dptrain again") from e
    except (lzma.LZMAError, EOFError) as e:
        raise DataError(f"the embedded data set {source} is damaged ({e}): install dptrain again") from e


def decode(raw: bytes) -> Dataset:
    """The unpacked content of the file -> data set."""
    cut = 16 + 28 * 28 * TRAIN * len(CLASSES) + 8 + TRAIN * len(CLASSES)
    return assemble(NAME, CLASSES, _part(raw[:cut], TRAIN * len(CLASSES)), _part(raw[cut:], TEST * len(CLASSES)))


def _part(raw: bytes, count: int) -> Part:
    cut = 16 + 28 * 28 * count
    images, labels = parse_idx(raw[:cut], 3, FILE), parse_idx(raw[cut:], 1, FILE)
    return Part(images[..., np.newaxis], labels.astype(np.int64))


DATASET = Descriptor(
    name=NAME,
    about="images of clothes",
    form=Form(28, 28, 1, len(CLASSES)),
    train=TRAIN * len(CLASSES),
    test=TEST * len(CLASSES),
    terms="part of Fashion-MNIST, MIT",
    load=load,
)
