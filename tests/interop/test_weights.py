"""Weights of any file, and what a new network takes from them."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from dptrain.errors import DataError, UsageError
from dptrain.interop.torchfile import write_torch
from dptrain.interop.weights import Weights, by_channel, read_weights, take_over
from dptrain.model import ParamLayout, ParamSpec

PARAMS = ParamLayout(
    (
        ParamSpec("conv1.weight", (4, 3)),
        ParamSpec("layer3.weight", (2, 4)),
        ParamSpec("linear.weight", (5, 2)),
        ParamSpec("linear.bias", (5,)),
    )
)
BUFFERS = ParamLayout((ParamSpec("bn1.running_mean", (4,)),))
SHAPES = {spec.name: spec.shape for layout in (PARAMS, BUFFERS) for spec in layout.specs}


def weights(tmp_path, change=None, classes=()):
    shapes = SHAPES | (change or {})
    arrays = {name: np.full(shape, 1 + at, np.float32) for at, (name, shape) in enumerate(shapes.items()) if shape}
    return Weights(tmp_path / "old.safetensors", arrays, classes=classes)


def taken(found, anew=()):
    params, buffers = np.zeros(PARAMS.size, np.float32), np.zeros(BUFFERS.size, np.float32)
    told = take_over(found, (PARAMS, params), (BUFFERS, buffers), anew, tuple("abcde"))
    return told, PARAMS.views(params) | BUFFERS.views(buffers)


def test_arrays_of_the_same_name_and_shape_are_taken_statistics_too(tmp_path):
    told, views = taken(weights(tmp_path))
    assert told == f"start: 5 of 5 arrays are those of {tmp_path}/old.safetensors"
    assert all((view == 1 + list(SHAPES).index(name)).all() for name, view in views.items())


def test_a_last_layer_of_other_size_stays_as_drawn_and_is_named(tmp_path):
    told, views = taken(weights(tmp_path, {"linear.weight": (7, 2), "linear.bias": (7,)}))
    assert told.endswith("; drawn anew: linear.weight, linear.bias")
    assert not views["linear.weight"].any()
    assert views["layer3.weight"].all()


def test_the_rows_of_the_last_layer_follow_the_names_of_the_classes(tmp_path):
    found = weights(tmp_path, classes=tuple("cabed"))
    found.arrays["linear.weight"][:] = np.arange(10, dtype=np.float32).reshape(5, 2)
    found.arrays["linear.bias"][:] = np.arange(5)
    told, views = taken(found)
    assert views["linear.bias"].tolist() == [1, 2, 0, 4, 3]
    assert views["linear.weight"].tolist() == [[2, 3], [4, 5], [0, 1], [8, 9], [6, 7]]
    assert (views["layer3.weight"] == found.arrays["layer3.weight"]).all()
    assert told.endswith(
        "; its classes are in another order: the rows of linear are permuted by the names of the classes"
    )
    for same in ("abcde", ""):
        told, views = taken(replace(found, classes=tuple(same)))
        assert views["linear.bias"].tolist() == [0, 1, 2, 3, 4]
        assert told.endswith(".safetensors")


@pytest.mark.parametrize("classes", ["abcdz", "abcd", "abcdd"])
def test_a_last_layer_of_other_classes_stays_as_drawn_and_is_named(tmp_path, classes):
    told, views = taken(weights(tmp_path, classes=tuple(classes)))
    assert told.endswith("; it has other classes ('a', 'b', 'c', ...); drawn anew: linear.weight, linear.bias")
    assert not views["linear.weight"].any()
    assert not views["linear.bias"].any()
    assert views["layer3.weight"].all()


def test_other_classes_are_refused_if_the_last_array_has_no_row_per_class(tmp_path):
    layout = ParamLayout((*PARAMS.specs, ParamSpec("bn.weight", (5,))))
    found = weights(tmp_path, {"bn.weight": (5,)}, classes=tuple("vwxyz"))
    vectors = (layout, np.zeros(layout.size, np.float32)), (BUFFERS, np.zeros(BUFFERS.size, np.float32))
    with pytest.raises(UsageError, match=r"and bn, the last layer with weights, has no row per class: .* --anew"):
        take_over(found, *vectors, (), tuple("abcde"))
    told = take_over(found, *vectors, ("linear", "bn"), tuple("abcde"))
    assert told.endswith("drawn anew: linear.weight, linear.bias, bn.weight")


def test_the_digest_has_the_classes_and_one_without_them_gives_the_weights_without_them(tmp_path):
    bare = weights(tmp_path)
    (tmp_path / "a.pt").write_bytes(write_torch(bare.arrays, '{"classes": ["a", "b"]}'))
    named = read_weights(tmp_path / "a.pt")
    assert named.classes == ("a", "b")
    assert len({found.sha256() for found in (bare, named, replace(named, classes=("b", "a")))}) == 3
    assert named.pinned("") is named
    assert named.pinned(named.sha256()) is named
    assert named.pinned(bare.sha256()).classes == ()
    assert named.pinned("a" * 64) is None


def test_what_is_named_with_anew_is_neither_taken_nor_missed(tmp_path):
    change = {"layer3.weight": (9, 9), "linear.bias": None, "other.weight": (3,)}
    told, views = taken(weights(tmp_path, change), ("layer3", "linear.bias", "other"))
    assert told.endswith("; drawn anew: layer3.weight, linear.bias")
    assert views["linear.weight"].all()


@pytest.mark.parametrize(
    ("change", "anew", "words"),
    [
        ({"layer3.weight": (2, 5)}, (), r"layer3.weight has shape \(2, 5\) .* needs \(2, 4\).*--anew layer3"),
        ({"layer3.weight": (9, 4)}, (), r"layer3.weight has shape \(9, 4\)"),  # as a last layer of other size would
        ({"linear.weight": (5, 3)}, (), r"linear.weight has shape \(5, 3\)"),
        ({"bn1.running_mean": None}, (), "has no bn1.running_mean, .*--anew bn1"),
        ({"hidden.0.weight": (3,), "z": (1,)}, (), "has hidden.0.weight and 1 more, which this network does not have"),
        ({}, ("layer4",), "anew = 'layer4': neither the file nor the network has an array of that name"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(tmp_path, change, anew, words):
    with pytest.raises(UsageError, match=words):
        taken(weights(tmp_path, change), anew)


def test_the_digest_is_that_of_the_arrays_whatever_the_format(tmp_path):
    arrays = weights(tmp_path).arrays
    (tmp_path / "a.pt").write_bytes(write_torch(arrays, '{"mean": [25.5], "std": [51.0]}'))
    half = {f"module.{name}": array.astype(np.float16) for name, array in arrays.items()}
    save_file(half | {"module.bn1.num_batches_tracked": np.zeros((), np.int64)}, tmp_path / "b.safetensors")
    one, other = read_weights(tmp_path / "a.pt"), read_weights(str(tmp_path / "b.safetensors"))
    assert one.sha256() == other.sha256() == weights(tmp_path).sha256()
    assert one.sha256() != weights(tmp_path, {"linear.bias": (6,)}).sha256()
    assert (one.normalisation, other.normalisation) == (((25.5,), (51.0,)), None)


@pytest.mark.parametrize(
    "about",
    [
        "",
        "{",
        "7",
        "[" * 100_000,
        '{"mean": 1, "std": [1]}',
        '{"mean": [], "std": []}',
        '{"mean": [1, 2], "std": [1, 1, 1]}',
        '{"classes": "ab"}',
        '{"classes": ["a", 1]}',
    ],
    ids=len,
)
def test_a_file_whose_description_makes_no_sense_says_nothing(tmp_path, about):
    (tmp_path / "a.pt").write_bytes(write_torch(weights(tmp_path).arrays, about))
    assert (read_weights(tmp_path / "a.pt").normalisation, read_weights(tmp_path / "a.pt").classes) == (None, ())


@pytest.mark.parametrize(
    ("name", "arrays", "words"),
    [
        ("a.safetensors", {"a": np.zeros(2, np.int64)}, "a holds int64; weights are floating-point numbers"),
        ("a.safetensors", {"a": np.float32([1, np.nan])}, "a holds NaN or infinity"),
        ("a.safetensors", None, "cannot be read as safetensors"),
        ("a.pt", None, "as PyTorch weights"),
        ("a.npy", None, "`dptrain import` reads PyFunt's model.npy"),
        ("missing.pt", None, "no such file or run directory"),
    ],
)
def test_files_that_hold_no_weights_are_refused_by_name(tmp_path, name, arrays, words):
    if arrays is not None:
        save_file(arrays, tmp_path / name)
    elif name != "missing.pt":
        (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises((DataError, UsageError), match=words) as error:
        read_weights(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_the_mean_per_channel_of_a_mean_image_is_the_same_in_any_order_of_its_pixels():
    pixels = [(0.1 + 1e16 * (i == 3) - 1e16 * (i == 700), i / 7) for i in range(1024)]
    there = by_channel([value for pixel in pixels for value in pixel], 2)
    assert there == by_channel([value for pixel in reversed(pixels) for value in pixel], 2)
    assert there[0] == pytest.approx(0.1, abs=1e-2)
