"""The validation split: a fixed rule, disjoint, complete, nested."""

from __future__ import annotations

import numpy as np
import pytest

from dptrain.data.dataset import Part, assemble, split
from dptrain.errors import UsageError


@pytest.mark.parametrize("validation", [0, 1, 7, 49])
def test_training_and_validation_together_are_every_sample_once_in_ascending_order(small, validation):
    parts = split(small(50), validation)
    assert parts.validation.size == validation
    assert sorted([*parts.train, *parts.validation]) == list(range(50))
    assert all(np.all(np.diff(ids) > 0) for ids in (parts.train, parts.validation))


def test_minus_one_is_a_tenth_rounded_down(small):
    assert split(small(59), -1).validation.size == 5


def test_a_larger_split_contains_a_smaller_one(small):
    few, many = split(small(50), 5).validation, split(small(50), 20).validation
    assert set(few.tolist()) < set(many.tolist())


def test_the_rule_never_changes(small):
    # Accuracies on the validation split are comparable between runs only while this holds.
    assert split(small(50), 5).validation.tolist() == [0, 7, 30, 41, 42]


@pytest.mark.parametrize("validation", [-2, 50, 51])
def test_an_impossible_count_is_refused_with_what_is_allowed(small, validation):
    with pytest.raises(UsageError, match=rf"validation is {validation}; small has 50 training images: .* 0 \.\.\. 49"):
        split(small(50), validation)


def test_fewer_training_samples_are_a_part_of_more_and_never_of_the_validation(small):
    few, many = split(small(50), 10, 7), split(small(50), 10, 30)
    assert (few.train.size, many.train.size) == (7, 30)
    assert set(few.train.tolist()) < set(many.train.tolist())
    assert not set(many.train.tolist()) & set(many.validation.tolist())
    assert few.validation.tolist() == many.validation.tolist() == split(small(50), 10).validation.tolist()


def test_more_samples_than_are_left_are_refused(small):
    with pytest.raises(UsageError, match="samples is 41: of the 50 training images of small, 40 are left"):
        split(small(50), 10, 41)


def _grouped(sizes):
    """Group g has sizes[g] images, in turn with the others as long as there are any."""
    groups = np.array([g for k in range(max(sizes)) for g, size in enumerate(sizes) if k < size])
    images = np.zeros((groups.size, 4, 4, 1), np.uint8)
    labels = np.arange(groups.size) % 2
    return assemble("grouped", ("a", "b"), Part(images, labels, groups), Part(images, labels))


@pytest.mark.parametrize("validation", [-1, 1, 5, 40])
def test_a_group_is_never_split_and_whole_groups_reach_what_was_asked(validation):
    dataset = _grouped([3, 9, 17, 20, 1, 12])
    parts = split(dataset, validation)
    groups = dataset.train_groups
    assert not set(groups[parts.train]) & set(groups[parts.validation])
    assert sorted([*parts.train, *parts.validation]) == list(range(62))
    asked = 6 if validation == -1 else validation
    last = min(np.bincount(groups[parts.validation])[np.unique(groups[parts.validation])])
    assert parts.validation.size >= asked
    assert parts.validation.size - asked < 20
    assert last > 0


def test_no_validation_keeps_every_group():
    assert split(_grouped([3, 4]), 0).train.size == 7


def test_groups_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(UsageError, match="of the 7 training images of grouped, 0 are left to train on"):
        split(_grouped([7]), 1)


def test_a_validation_split_that_lacks_classes_is_reported_with_their_names(small, caplog):
    parts = split(small(50), 5)  # of the classes 0, 7, 0, 1, 2
    assert caplog.messages == [
        "small: the validation set (5 images) has none of 'd', 'e', 'f', 'g', 'i', 'j': "
        "its accuracy says nothing about them; a larger validation split, or more images, may have all"
    ]
    assert set(small(50).train_labels[parts.validation]) == {0, 1, 2, 7}


def test_a_split_is_warned_about_once_however_many_threads_open_the_data_set(small, caplog):
    for _ in range(3):
        split(small(50), 5)
    assert len(caplog.messages) == 1


def test_classes_of_which_validation_leaves_none_to_train_on_are_named(caplog):
    labels = np.array([1, 0, 0, 0, 0])
    dataset = assemble("rare", ("a", "b"), *2 * [Part(np.zeros((5, 4, 4, 1), np.uint8), labels)])
    parts = split(dataset, 2)
    assert parts.validation.tolist() == [0, 1]
    assert caplog.messages == [
        "rare: the training set (3 images) has none of 'b': they cannot be learned; "
        "a smaller validation split, or more images, may leave all"
    ]


@pytest.mark.parametrize("validation", [0, 20])
def test_splits_that_have_every_class_are_not_warned_about(small, caplog, validation):
    split(small(50), validation)
    assert caplog.messages == []
