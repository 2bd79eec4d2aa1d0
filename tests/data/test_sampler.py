"""Every epoch uses every image once, in whatever order the shards are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.data.shards import Sampler, _order, drawn, permutation
from dptrain.errors import UsageError
from dptrain.kernels.philox import Domain
from dptrain.kernels.reference import philox as reference


@st.composite
def samplers(draw):
    shard = draw(st.integers(1, 9))
    return Sampler(
        samples=draw(st.integers(1, 120)),
        batch_size=shard * draw(st.integers(1, 6)),
        shard_size=shard,
        seed=draw(st.integers(0, 2**63 - 1)),
    )


@given(sampler=samplers(), epoch=st.integers(0, 3))
def test_each_epoch_uses_each_sample_exactly_once(sampler, epoch):
    first = epoch * sampler.steps_per_epoch
    steps = range(first, first + sampler.steps_per_epoch)
    ids = [int(i) for step in steps for k in range(sampler.shards(step)) for i in sampler.shard(step, k)]
    assert sorted(ids) == list(range(sampler.samples))
    assert {sampler.epoch_of(step) for step in steps} == {epoch}
    assert [sampler.position(step) for step in steps] == list(range(sampler.steps_per_epoch))


@given(sampler=samplers(), step=st.integers(0, 50))
def test_shards_one_after_another_are_the_batch_and_only_the_last_may_be_short(sampler, step):
    shards = [sampler.shard(step, k) for k in range(sampler.shards(step))]
    assert np.concatenate(shards).tolist() == sampler.batch(step).tolist()
    assert all(s.size == sampler.shard_size for s in shards[:-1])
    assert 1 <= shards[-1].size <= sampler.shard_size


@given(sampler=samplers(), queries=st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_a_shard_does_not_depend_on_the_shards_asked_for_before(sampler, queries):
    answers = {step: sampler.batch(step).tolist() for step in queries}
    for step in sorted(queries, reverse=True):
        _order.cache_clear()  # or the answers would be compared with themselves
        fresh = Sampler(sampler.samples, sampler.batch_size, sampler.shard_size, sampler.seed)
        assert fresh.batch(step).tolist() == answers[step]


def test_the_last_batch_of_an_epoch_has_fewer_and_shorter_shards():
    sampler = Sampler(samples=301, batch_size=128, shard_size=32, seed=0)
    assert sampler.steps_per_epoch == 3
    assert [sampler.shards(step) for step in range(4)] == [4, 4, 2, 4]
    assert [sampler.shard(2, k).size for k in range(2)] == [32, 13]


def test_a_batch_larger_than_the_set_is_the_whole_set():
    sampler = Sampler(samples=5, batch_size=64, shard_size=32, seed=0)
    assert sampler.steps_per_epoch == 1
    assert sorted(sampler.shard(0, 0).tolist()) == [0, 1, 2, 3, 4]


def test_the_order_is_the_documented_one():
    assert permutation(9, 4, 200).tolist() == reference.permutation(9, Domain.ORDER, 4, 200).tolist()


@given(sampler=samplers(), step=st.integers(0, 50))
def test_a_batch_is_a_slice_of_the_order_of_its_own_epoch(sampler, step):
    order = permutation(sampler.seed, sampler.epoch_of(step), sampler.samples)
    first = sampler.position(step) * sampler.batch_size
    assert sampler.batch(step).tolist() == order[first : first + sampler.batch_size].tolist()


def test_epochs_and_seeds_have_different_orders():
    orders = {permutation(seed, epoch, 100).tobytes() for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_a_permutation_belongs_to_the_caller_and_a_shard_to_the_sampler():
    mine = permutation(0, 0, 10)
    mine[:] = 0
    assert sorted(permutation(0, 0, 10).tolist()) == list(range(10))
    with pytest.raises(ValueError, match="read-only"):
        Sampler(10, 4, 2, 0).shard(0, 0)[:] = 0


@pytest.mark.parametrize(
    ("batch", "shard", "words"),
    [
        (100, 32, ("batch_size = 100", "shard_size = 32", "96 or 128", "divides 100: 25")),
        (16, 32, ("batch_size = 16", "shards: batch_size 32,", "divides 16: 16")),
    ],
)
def test_an_indivisible_batch_is_refused_with_the_nearest_sizes(batch, shard, words):
    with pytest.raises(UsageError) as e:
        Sampler(1000, batch, shard, 0)
    assert all(word in str(e.value) for word in words), e.value


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ((0, 4, 2, 0), "0 training images"),
        ((9, 0, 2, 0), "batch_size is 0"),
        ((9, 4, 0, 0), "shard_size 0"),
        ((9, 4, 2, -1), "seed is -1"),
        ((9, 4, 2, 2**63), "seed is 9223372036854775808"),
    ],
)
def test_impossible_values_are_refused_by_name(sampler, words):
    with pytest.raises(UsageError, match=words):
        Sampler(*sampler)


def test_a_shard_that_does_not_exist_is_an_error():
    sampler = Sampler(samples=301, batch_size=128, shard_size=32, seed=0)
    with pytest.raises(IndexError, match=r"shards 0 \.\.\. 1, not 2"):
        sampler.shard(2, 2)
    with pytest.raises(IndexError, match="not -1"):
        sampler.batch(-1)


def test_with_replacement_every_draw_is_equally_likely_and_a_third_is_missed():
    counts = np.zeros(50)
    for epoch in range(400):
        counts += np.bincount(drawn(3, epoch, 50), minlength=50)
    assert abs(float(((counts - 400) ** 2 / 400).sum()) - 49) < 4 * 98**0.5
    many = drawn(1, 0, 10_000)
    assert abs(np.unique(many).size / 10_000 - (1 - 1 / np.e)) < 0.02


def test_with_replacement_batches_are_the_draws_one_after_another():
    sampler = Sampler(50, 16, 4, 9, replacement=True)
    assert np.concatenate([sampler.batch(step) for step in range(4)]).tolist() == drawn(9, 0, 50).tolist()
    assert np.concatenate([sampler.batch(step) for step in range(4, 8)]).tolist() == drawn(9, 1, 50).tolist()
    words = reference.words(9, Domain.ORDER_REPLACEMENT, 0, 0, 50)
    assert drawn(9, 0, 50).tolist() == [reference.bounded(int(w), 50) for w in words]
