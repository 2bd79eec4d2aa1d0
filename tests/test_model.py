"""What one shard contributes: its digest, by which two workers are compared, and how two of them are added up."""

from dataclasses import replace
from math import inf, nextafter

import numpy as np
import pytest

from dptrain.model import ShardResult


def result(seed=0):
    rng = np.random.default_rng(seed)
    gradient, statistics = rng.normal(size=5).astype(np.float32), rng.normal(size=3).astype(np.float32)
    return ShardResult(gradient, statistics, float(rng.normal()), 3, 8)


@pytest.mark.parametrize("name", ["gradient", "statistics"])
def test_one_other_bit_in_an_array_is_another_digest(name):
    for place in range(getattr(result(), name).size):
        changed = result()
        getattr(changed, name).view(np.uint32)[place] ^= np.uint32(1)
        assert changed.digest() != result().digest(), place


@pytest.mark.parametrize("change", [{"loss": nextafter(result().loss, inf)}, {"hits": 4}, {"samples": 9}])
def test_another_loss_or_count_is_another_digest(change):
    assert replace(result(), **change).digest() != result().digest()


def test_everything_is_added_up_and_nothing_of_the_summands_changes():
    left, right = result(0), result(1)
    both = left.combine(right)
    assert both.gradient.tobytes() == (left.gradient + right.gradient).tobytes()
    assert both.statistics.tobytes() == (left.statistics + right.statistics).tobytes()
    assert (both.loss, both.hits, both.samples) == (left.loss + right.loss, 6, 16)
    assert [left.digest(), right.digest()] == [result(0).digest(), result(1).digest()]
