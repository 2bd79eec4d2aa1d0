"""Augmentation specs, and the promise that the result does not depend on how images are grouped."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.data.augment import OPERATIONS, VIEWS, Crop, CutWindow, Flip, Noise, Pca
from dptrain.data.shards import Pipeline
from dptrain.errors import UsageError
from dptrain.kernels import philox
from dptrain.kernels.philox import Domain
from dptrain.kernels.reference import augment as reference

SHAPE = (32, 32, 3)
FIRST_DAY = {
    "flip": "84010b729f8c",
    "altflip": "c5986223c572",
    "reflect:2": "abd9f1a6a1e1",
    "crop:4": "849eb515d01f",
    "crop:2:128": "7279f7815dc4",
    "window:8:8:2": "628073d272d4",
    "pad:2": "b2d77c526235",
    "vflip": "05ab17608843",
    "rotate:15": "6d6672828d73",
    "contrast": "4eaf738d4f14",
    "tint": "f35c5af8b283",
    "pca": "fd4efaf459b9",
    "noise": "928a0f37b253",
    "elastic:15:10": "8e62188d1061",
    "cutout:2": "066f2d9c0485",
}
BOTH = Pipeline.parse(("crop:4", "flip"), SHAPE)


def _images(n, side=6):
    words = philox.words(3, 95, 0, 0, n * side * side * 3)
    return (words >> 24).astype(np.uint8).reshape(n, side, side, 3)


def test_specs_become_operations_in_order():
    assert BOTH.operations == (Crop(pad=4, fill=0), Flip())
    assert Pipeline.parse(["flip", "crop:2:128"], SHAPE).operations == (Flip(), Crop(pad=2, fill=128))
    assert Pipeline.parse((), SHAPE).operations == ()


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["flop"], "no augmentation 'flop'; did you mean flip? There are flip, altflip, vflip, crop:PAD"),
        (["qqq:3"], "no augmentation 'qqq'. There are"),
        ([""], "no augmentation ''"),
        (["flip:1"], "'flip:1': it takes no number; write flip"),
        (["crop"], "'crop': it takes one or two numbers; write crop:PAD"),
        (["crop:4:0:1"], "'crop:4:0:1': it takes one or two numbers"),
        (["crop:x"], "'crop:x': what follows the name must be whole numbers"),
        (["crop:-4"], "whole numbers"),
        (["crop:4.5"], "whole numbers"),
        (["crop:"], "whole numbers"),
        (["crop:²"], "whole numbers"),
        (["crop:" + "9" * 5000], "write crop:PAD"),
        (["crop:0"], "'crop:0': PAD must be 1 or more"),
        (["crop:4:256"], "'crop:4:256': FILL must lie in 0 ... 255"),
        (["crop:32"], "crop:32: images are 32 x 32; PAD must lie in 1 ... 31"),
        (["window:33:32"], "window:33:32:0: images are 32 x 32; HEIGHT must lie in 1 ... 32"),
        (["window:8:8:8"], "PAD below both"),
        (["window:8"], "it takes two to four numbers; write window:HEIGHT:WIDTH[:PAD[:FILL]]"),
        (["window:16:16", "crop:16"], "crop:16: images are 16 x 16"),
        (["pad:0"], "PAD must lie in 1 ... 256"),
        (["rotate"], "it takes one or two numbers; write rotate:DEGREES[:FILL]"),
        (["rotate:181"], "DEGREES must lie in 1 ... 180"),
        (["elastic:0"], "ALPHA must lie in 1 ... 1000; write elastic[:ALPHA[:SIGMA[:FILL]]]"),
        (["contrast:101"], "PERCENT must lie in 1 ... 100"),
        (["tint:256"], "AMOUNT must lie in 1 ... 255"),
        (["noise:0:0:0"], "noise:0:0:0: one of the three must be more than 0"),
        (["noise:101"], "SALT must lie in 0 ... 100"),
        (["cutout:32"], "cutout:32: images are 32 x 32; SIDE must lie in 1 ... 31"),
        (["cutout"], "write cutout:SIDE[:FILL]"),
        (["flip", "flip"], "'flip' is given twice"),
        (["crop:2", "flip", "crop:4"], "'crop' is given twice"),
    ],
)
def test_an_impossible_spec_is_refused_with_the_allowed_form(specs, words):
    with pytest.raises(UsageError) as e:
        Pipeline.parse(specs, SHAPE)
    assert words in str(e.value)


@pytest.mark.parametrize(("spec", "channels"), [("pca", 1), ("tint", 5)])
def test_a_spec_for_other_channels_is_refused(spec, channels):
    with pytest.raises(UsageError, match=f"augmentation {spec}: images have {channels} channel"):
        Pipeline.parse([spec], (32, 32, channels))


def test_operations_follow_one_another_each_with_its_own_draws():
    x, ids = _images(40), np.arange(100, 140)
    ref, flipped = np.empty_like(x), np.empty_like(x)
    reference.crop(x, philox.blocks(5, Domain.AUGMENT_CROP, 2, ids), 4, 0, ref)
    reference.flip(ref, philox.blocks(5, Domain.AUGMENT_FLIP, 2, ids), flipped)
    np.testing.assert_array_equal(BOTH.apply(x, ids, seed=5, epoch=2), flipped)


@given(order=st.permutations(range(12)), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_how_samples_are_grouped_and_ordered_makes_no_difference(order, cuts):
    x, ids = _images(12), np.arange(12) * 7
    whole = BOTH.apply(x, ids, seed=1, epoch=3)
    edges = sorted({0, 12, *cuts})
    order = np.array(order)
    parts = [order[a:b] for a, b in pairwise(edges)]
    pieces = np.concatenate([BOTH.apply(x[part], ids[part], seed=1, epoch=3) for part in parts])
    np.testing.assert_array_equal(pieces, whole[order])


def test_seed_epoch_and_sample_each_change_the_draw():
    x = np.repeat(_images(1), 64, axis=0)
    ids = np.arange(64)
    base = BOTH.apply(x, ids, 1, 1)
    assert len({image.tobytes() for image in base}) > 40
    for other in (BOTH.apply(x, ids, 2, 1), BOTH.apply(x, ids, 1, 2), BOTH.apply(x, ids + 64, 1, 1)):
        same = (other == base).all(axis=(1, 2, 3)).mean()
        assert same < 0.2


def test_the_input_is_not_changed_and_out_is_filled():
    x, ids = _images(5), np.arange(5)
    expected = BOTH.apply(x, ids, 0, 0)
    before = x.copy()
    x.setflags(write=False)
    out = np.empty_like(x)
    assert BOTH.apply(x, ids, 0, 0, out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(x, before)
    turned = np.asfortranarray(before)
    np.testing.assert_array_equal(BOTH.apply(turned, ids, 0, 0), expected)


def test_without_operations_the_images_are_copied():
    x = _images(3)
    y = Pipeline().apply(x, np.arange(3), 0, 0)
    np.testing.assert_array_equal(x, y)
    assert not np.may_share_memory(x, y)


def test_out_must_be_another_array_of_the_same_shape():
    x = _images(3)
    for out in (x, x[:2].copy()):
        with pytest.raises(ValueError, match="another array of shape"):
            BOTH.apply(x, np.arange(3), 0, 0, out)


#: Every operation except those of BOTH.
EVERY = (
    "reflect:1",
    "altflip",
    "vflip",
    "rotate:15",
    "contrast",
    "tint",
    "pca",
    "noise",
    "elastic:15:10",
    "cutout:2",
    "pad:2",
    "window:6:5:1",
)


def _every():
    return Pipeline.parse((*EVERY, "flip", "crop:1"), (6, 6, 3)).fit(_images(30))


def test_the_bits_of_every_operation_never_change():
    """The SHA-256 of the output of each operation. Changing one changes the bits of published runs."""
    x, ids = _images(64, side=12), np.arange(64)
    made = {}
    for spec in FIRST_DAY:
        pipeline = Pipeline.parse((spec,), (12, 12, 3)).fit(x)
        made[spec] = hashlib.sha256(pipeline.apply(x, ids, 5, 2).tobytes()).hexdigest()[:12]
    assert made == FIRST_DAY
    assert {spec.split(":")[0] for spec in made} == set(OPERATIONS)


def test_an_image_is_mirrored_in_every_second_epoch_and_half_of_them_in_the_first():
    x, ids, pipeline = _images(100), np.arange(100) * 3, Pipeline.parse(("altflip",), (6, 6, 3))
    first, second, third = (pipeline.apply(x, ids, 5, epoch) for epoch in range(3))
    mirrored = (first == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 30 < mirrored.sum() < 70
    np.testing.assert_array_equal(first[~mirrored], x[~mirrored])
    np.testing.assert_array_equal(second, first[:, :, ::-1])
    np.testing.assert_array_equal(third, first)


def test_a_long_chain_gives_every_sample_the_same_bits_in_any_company():
    x, ids, pipeline = _images(12), np.arange(12) * 7, _every()
    assert {operation.name for operation in pipeline.operations} == set(OPERATIONS), "EVERY lacks an operation"
    whole = pipeline.apply(x, ids, 1, 3)
    assert whole.shape == (12, *pipeline.output((6, 6, 3))) == (12, 6, 5, 3)
    alone = [pipeline.apply(x[i : i + 1], ids[i : i + 1], 1, 3) for i in reversed(range(12))]
    np.testing.assert_array_equal(np.concatenate(alone[::-1]), whole)


def test_evaluation_pads_and_cuts_the_middle_and_nothing_else():
    x = _images(3)
    assert _every().views == VIEWS
    np.testing.assert_array_equal(_every().still(x), np.pad(x, _frame(2))[:, 2:8, 2:7])
    framed = np.pad(np.pad(x, _frame(1), "reflect")[:, 2:, 2:], _frame(2))
    np.testing.assert_array_equal(_every().still(x, "lower right"), np.pad(framed[:, 4:, 5:], _frame(1))[:, 2:, 2:])
    alone = Pipeline.parse(("flip", "tint"), (6, 6, 3))
    assert alone.views == ("centre",)
    np.testing.assert_array_equal(alone.still(x), x)


def _frame(pad):
    return (0, 0), (pad, pad), (pad, pad), (0, 0)


@pytest.mark.parametrize("view", VIEWS)
def test_five_views_are_the_corners_and_the_middle(view):
    x = _images(2, side=8)
    rows, columns = ((0, 5) if "upper" in view else (3, 8)), ((0, 6) if "left" in view else (2, 8))
    if view == "centre":
        rows, columns = (1, 6), (1, 7)
    window = Pipeline.parse(("window:5:6:2",), (8, 8, 3))
    np.testing.assert_array_equal(window.still(x, view), x[:, slice(*rows), slice(*columns)])


def test_five_views_of_a_padded_crop_are_its_outermost_crops():
    x = _images(2)
    crop = Pipeline.parse(("crop:2:9",), (6, 6, 3))
    framed = np.pad(x, _frame(2), constant_values=9)
    np.testing.assert_array_equal(crop.still(x), x)
    np.testing.assert_array_equal(crop.still(x, "upper left"), framed[:, :6, :6])
    np.testing.assert_array_equal(crop.still(x, "lower right"), framed[:, 4:, 4:])


def test_specs_omit_default_values():
    assert Pipeline.parse(["noise", "window:8:9"], SHAPE).operations == (Noise(5, 26, 10), CutWindow(8, 9, 0, 0))
    assert Pipeline.parse(["noise:0:20"], SHAPE).operations == (Noise(0, 20, 10),)


def test_pca_moves_colours_with_the_covariance_of_the_training_images_squared():
    x = _images(40, side=16).astype(int)
    x[..., 1] = (x[..., 0] + x[..., 1]) // 2  # two channels go together, one has less
    x[..., 2] = 100 + x[..., 2] // 4
    x = x.astype(np.uint8)
    c = np.cov(x.reshape(-1, 3).astype(float).T, bias=True) / 255**2  # colours in 0 ... 1
    (pca,) = Pipeline.parse(["pca:50"], (16, 16, 3)).fit(x).operations
    assert isinstance(pca, Pca)
    np.testing.assert_allclose(np.array(pca.matrix) / 65536, 0.5 * 255 * c, atol=1e-5)
    eigenvalues, vectors = np.linalg.eigh(c)
    alexnet = vectors @ np.diag((0.5 * eigenvalues) ** 2) @ vectors.T  # covariance of sum p_i a_i l_i
    np.testing.assert_allclose((0.5 * c) @ (0.5 * c).T, alexnet, atol=1e-12)
    with pytest.raises(ValueError, match="call fit"):
        Pca(10).apply(x, np.zeros((40, 4), np.uint32), np.empty_like(x))
