"""Augmentation specs, and the promise that how samples are grouped makes no difference."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.data.augment import Crop, Flip, Pipeline
from dptrain.errors import UsageError
from dptrain.kernels import philox
from dptrain.kernels.augment import reference
from dptrain.kernels.philox import domains

SHAPE = (32, 32, 3)
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
        (["flop"], "no augmentation 'flop': did you mean 'flip'? There are flip, crop:PAD or crop:PAD:FILL"),
        (["rotate:3"], "no augmentation 'rotate': There are"),
        ([""], "no augmentation ''"),
        (["flip:1"], "'flip:1': it takes no number; write flip"),
        (["crop"], "'crop': it takes one or two numbers; write crop:PAD"),
        (["crop:4:0:1"], "'crop:4:0:1': it takes one or two numbers"),
        (["crop:x"], "'crop:x': what follows the name must be whole numbers"),
        (["crop:-4"], "whole numbers"),
        (["crop:4.5"], "whole numbers"),
        (["crop:"], "whole numbers"),
        (["crop:²"], "whole numbers"),
        (["crop:0"], "'crop:0': PAD must be 1 or more"),
        (["crop:4:256"], "'crop:4:256': FILL must lie in 0 ... 255"),
        (["crop:32"], "crop:32: images are 32 x 32; PAD must lie in 1 ... 31"),
        (["flip", "flip"], "'flip' is given twice"),
        (["crop:2", "flip", "crop:4"], "'crop' is given twice"),
    ],
)
def test_an_impossible_spec_is_refused_with_what_would_do(specs, words):
    with pytest.raises(UsageError) as e:
        Pipeline.parse(specs, SHAPE)
    assert words in str(e.value)


def test_operations_follow_one_another_each_with_its_own_draws():
    x, ids = _images(40), np.arange(100, 140)
    ref, flipped = np.empty_like(x), np.empty_like(x)
    reference.crop(x, philox.blocks(5, domains.AUGMENT_CROP, 2, ids), 4, 0, ref)
    reference.flip(ref, philox.blocks(5, domains.AUGMENT_FLIP, 2, ids), flipped)
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


def test_images_are_left_alone_read_only_or_not_and_out_is_filled():
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


def test_no_operations_copy():
    x = _images(3)
    y = Pipeline().apply(x, np.arange(3), 0, 0)
    np.testing.assert_array_equal(x, y)
    assert not np.may_share_memory(x, y)


def test_out_must_be_another_array_of_the_same_shape():
    x = _images(3)
    for out in (x, x[:2].copy()):
        with pytest.raises(ValueError, match="another array of shape"):
            BOTH.apply(x, np.arange(3), 0, 0, out)
