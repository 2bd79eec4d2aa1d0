"""The validation split: a fixed rule, disjoint, complete, nested."""

from __future__ import annotations

import numpy as np
import pytest

from dptrain.data.split import split
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
    with pytest.raises(UsageError, match=rf"validation is {validation}; small has 50 training samples: .* 0 \.\.\. 49"):
        split(small(50), validation)
