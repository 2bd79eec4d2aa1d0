"""What an augmenter prepares and when: `Prefetch` over a real source of shards, without a socket."""

import numpy as np
import pytest

from dptrain.data.dataset import Part, assemble, split
from dptrain.data.shards import Pipeline, Sampler, ShardSource
from dptrain.net.prepared import AHEAD, BEHIND, Place, Prefetch, augmenter_of

STEPS = 9  #: of an epoch: the last one has one shard of 2 images instead of two shards of 4


@pytest.fixture(scope="module")
def source():
    """66 images in steps of 8, two shards per step, cropped and mirrored."""
    images = np.random.default_rng(0).integers(0, 256, (66, 8, 8, 3), np.uint8)
    labels = np.arange(66) % 10
    dataset = assemble("noise", tuple("0123456789"), Part(images, labels), Part(images[:10], labels[:10]))
    parts = split(dataset, 0)
    pipeline = Pipeline.parse(("crop:2", "flip"), (8, 8, 3))
    return ShardSource(dataset, parts, Sampler(66, 8, 4, seed=3), pipeline)


def all_prepared(prefetch):
    while prefetch.prepare_one():
        pass
    return sorted(prefetch.ready)


def test_every_shard_belongs_to_exactly_one_augmenter_and_all_get_their_share(source):
    for of in (1, 2, 3):
        owners = [augmenter_of(step, shard, 2, of) for step in range(STEPS) for shard in range(2)]
        assert owners == [i % of for i in range(2 * STEPS)]


def test_from_the_beginning_it_prepares_its_share_of_the_first_steps_in_their_order(source):
    prefetch = Prefetch(source, STEPS, Place(1, 3))
    order = []
    while prefetch.prepare_one():
        order.append(prefetch.ready[-1])
    assert order == [(0, 1), (2, 0), (3, 1)]
    assert order == sorted(order)


def test_a_request_moves_the_window_and_what_lies_outside_of_it_is_dropped(source):
    prefetch = Prefetch(source, STEPS, Place(0, 1))
    assert {step for step, _ in all_prepared(prefetch)} == set(range(AHEAD + 1))
    prefetch.take(4, 0)
    assert {step for step, _ in prefetch.ready} == {3, 4}
    assert {step for step, _ in all_prepared(prefetch)} == set(range(4 - BEHIND, 4 + AHEAD + 1))


def test_memory_is_bounded_whichever_shards_are_asked_for(source):
    prefetch = Prefetch(source, STEPS, Place(0, 1))
    for step in (0, 8, 3, 7, 1, 8, 0):
        prefetch.take(step, 0)
        assert len(all_prepared(prefetch)) <= 2 * (AHEAD + BEHIND + 1)


def test_images_are_those_a_worker_would_have_made_itself_prepared_ahead_or_not(source):
    ahead, late = Prefetch(source, STEPS, Place(0, 1)), Prefetch(source, STEPS, Place(0, 1))
    all_prepared(ahead)
    for step, shard in [(0, 0), (0, 1), (2, 1), (3, 0)]:
        expected, _ = source.images(step, shard)
        assert ahead.take(step, shard).tobytes() == expected.tobytes()
        assert late.take(step, shard).tobytes() == expected.tobytes()


def test_the_short_step_at_the_end_of_an_epoch_has_the_shards_it_has(source):
    prefetch = Prefetch(source, 2 * STEPS, Place(0, 1))
    assert prefetch.take(8, 0).shape == (2, 8, 8, 3)
    assert prefetch.take(8, 1) is None
    assert all_prepared(prefetch) == [(8, 0), *((step, shard) for step in (9, 10, 11) for shard in range(2))]


@pytest.mark.parametrize(("step", "shard"), [(-1, 0), (STEPS, 0), (2**62, 0), (0, 2), (0, -1), (0, 0)])
def test_what_does_not_exist_or_belongs_to_another_augmenter_is_not_answered_and_moves_nothing(source, step, shard):
    prefetch = Prefetch(source, STEPS, Place(1, 2))
    before = all_prepared(prefetch)
    assert prefetch.take(step, shard) is None
    assert prefetch.ready == before


def test_after_the_last_step_there_is_nothing_left_to_prepare(source):
    prefetch = Prefetch(source, STEPS, Place(0, 1))
    prefetch.take(STEPS - 1, 0)
    assert not prefetch.prepare_one()
