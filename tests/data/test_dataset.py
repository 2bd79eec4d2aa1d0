"""Figures of a data set: exact, and sensitive to everything that decides the bits of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dptrain.data.dataset import Part, assemble
from dptrain.errors import DataError
from dptrain.kernels import philox

AB = ("a", "b")


def _part(n, stream=0):
    words = philox.words(5, 90, 0, stream, n * 147)
    return Part((words >> 24).astype(np.uint8).reshape(n, 7, 7, 3), np.arange(n) % 2)


def test_mean_and_standard_deviation_are_those_of_the_training_images_per_channel():
    train = _part(1203)
    d = assemble("x", AB, train, _part(3, 1))
    pixels = train.images.reshape(-1, 3).astype(np.longdouble)
    np.testing.assert_allclose(d.mean, pixels.mean(axis=0).astype(float), rtol=1e-15)
    np.testing.assert_allclose(d.std, pixels.std(axis=0).astype(float), rtol=1e-14)
    assert d.mean.dtype == d.std.dtype == np.float64


def test_a_data_set_is_printed_in_one_line_without_its_pixels():
    assert repr(assemble("x", AB, _part(1203), _part(3, 1))) == (
        "Dataset('x': 1,203 + 3 images of 7x7x3, 2 classes: a, b)"
    )
    many = tuple(f"c{number}" for number in range(2000))
    assert repr(assemble("x", many, _part(4), _part(3, 1))).endswith(
        "2000 classes: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, ...)"
    )


def test_figures_do_not_depend_on_the_order_of_images_but_the_name_does():
    train, test = _part(1203), _part(3, 1)
    turned = Part(train.images[::-1].copy(), train.labels[::-1].copy())
    a, b = assemble("x", AB, train, test), assemble("x", AB, turned, test)
    assert a.mean.tobytes() == b.mean.tobytes()
    assert a.std.tobytes() == b.std.tobytes()
    assert a.sha256 != b.sha256


def test_a_constant_channel_gets_standard_deviation_one_because_it_is_divided_by():
    d = assemble("x", AB, Part(np.full((4, 2, 2, 1), 200, np.uint8), np.arange(4) % 2), _one_channel())
    assert d.mean.tolist() == [200.0]
    assert d.std.tolist() == [1.0]


def _one_channel():
    return Part(np.zeros((2, 2, 2, 1), np.uint8), np.arange(2))


def test_the_digest_covers_pixels_labels_shapes_and_classes_and_not_the_name():
    train, test = _part(8), _part(4, 1)
    base = assemble("x", AB, train, test).sha256
    assert assemble("y", AB, train, test).sha256 == base
    pixel = train.images.copy()
    pixel[3, 1, 1, 1] ^= 1
    label = train.labels.copy()
    label[2] = 1
    others = [
        assemble("x", ("a", "c"), train, test),
        assemble("x", AB, Part(pixel, train.labels), test),
        assemble("x", AB, Part(train.images, label), test),
        assemble("x", AB, train, Part(test.images[:3], test.labels[:3])),
    ]
    assert len({base, *(d.sha256 for d in others)}) == 5


def test_the_manifest_is_json_and_complete():
    d = assemble("x", AB, _part(8), _part(4, 1))
    m = json.loads(json.dumps(d.manifest()))
    assert m == {
        "name": "x",
        "sha256": d.sha256,
        "classes": ["a", "b"],
        "image_shape": [7, 7, 3],
        "train": 8,
        "test": 4,
        "mean": d.mean.tolist(),
        "std": d.std.tolist(),
    }


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (Part(np.zeros((3, 7, 7), np.uint8), np.zeros(3, np.int64)), "training images have shape"),
        (Part(np.zeros((0, 7, 7, 3), np.uint8), np.zeros(0, np.int64)), "training images have shape"),
        (Part(np.zeros((3, 7, 7, 3), np.uint8), np.zeros(4, np.int64)), "3 training images, but 4 labels"),
        (Part(np.zeros((2, 7, 7, 3), np.uint8), np.array([0, 2])), "a training label is 2; there are classes 0 ... 1"),
        (Part(np.zeros((2, 7, 8, 3), np.uint8), np.array([0, 1])), "(7, 8, 3), test images (7, 7, 3)"),
    ],
)
def test_arrays_that_cannot_be_a_data_set_are_refused(train, words):
    with pytest.raises(DataError) as e:
        assemble("x", AB, train, _part(4))
    assert words in str(e.value)
