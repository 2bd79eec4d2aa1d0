"""From (step, shard) to images and labels: the same bits in every process."""

from __future__ import annotations

import numpy as np
import pytest

from dptrain.data import shards
from dptrain.data.dataset import split
from dptrain.data.shards import Pipeline, Sampler, ShardSource, open_source
from dptrain.errors import UsageError
from dptrain.settings import DataConfig, TrainingConfig


def _source(dataset, specs=(), seed=3):
    parts = split(dataset, 8)
    pipeline = Pipeline.parse(specs, dataset.image_shape)
    return ShardSource(dataset, parts, Sampler(parts.train.size, 16, 4, seed), pipeline)


def _every(source, steps):
    return [source.images(step, k) for step in range(steps) for k in range(source.sampler.shards(step))]


def test_an_epoch_shows_each_training_sample_once_with_its_label_and_no_validation_sample(small):
    source = _source(small(50))
    ids = []
    for x, y in _every(source, source.sampler.steps_per_epoch):
        shown = x[:, 0, 0, 0].astype(int)  # image i has all pixels i
        assert y.tolist() == [i % 10 for i in shown]
        ids += shown.tolist()
    assert sorted(ids) == source.parts.train.tolist()


def test_two_processes_that_prepare_a_shard_have_the_same_bits(small):
    a, b = (_source(small(50), ("crop:2", "flip")) for _ in range(2))
    forward = _every(a, 6)
    order = [(step, k) for step in range(6) for k in range(a.sampler.shards(step))]
    backward = {key: b.images(*key) for key in reversed(order)}
    for key, (x, y) in zip(order, forward, strict=True):
        np.testing.assert_array_equal(x, backward[key][0])
        np.testing.assert_array_equal(y, backward[key][1])
        np.testing.assert_array_equal(y, b.labels(*key))


def test_a_sample_is_augmented_alike_whatever_the_batch_and_shard_size(small):
    dataset = small(50)
    parts = split(dataset, 8)
    pipeline = Pipeline.parse(("crop:2", "flip"), dataset.image_shape)
    epochs = []
    for batch, shard in ((16, 4), (10, 10), (42, 1)):
        source = ShardSource(dataset, parts, Sampler(42, batch, shard, 3), pipeline)
        epochs.append(np.concatenate([x for x, _ in _every(source, source.sampler.steps_per_epoch)]))
    np.testing.assert_array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(epochs[0], epochs[2])


def test_epochs_augment_differently(small):
    source = _source(small(50), ("crop:4",))
    per_epoch = source.sampler.steps_per_epoch
    a, b = (np.concatenate([x for x, _ in _every(source, n * per_epoch)]) for n in (1, 2))
    assert np.count_nonzero(b[len(a) :] == 0) != np.count_nonzero(a == 0)


@pytest.mark.parametrize(("name", "size"), [("train", 42), ("validation", 8), ("test", 20)])
def test_evaluation_goes_through_a_split_in_order_without_augmentation(small, name, size):
    source = _source(small(50), ("crop:4", "flip"))
    assert source.size(name) == size
    parts = [source.evaluation(name, at, min(at + 5, size)) for at in range(0, size, 5)]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    ids = {"train": source.parts.train, "validation": source.parts.validation, "test": np.arange(20)}[name]
    assert x[:, 3, 3, 1].tolist() == ids.tolist()
    assert y.tolist() == [i % 10 for i in ids]
    assert x.flags.writeable
    assert y.flags.writeable


def test_evaluation_outside_a_split_is_an_error(small):
    source = _source(small(50))
    with pytest.raises(ValueError, match=r"images 5 \.\.\. 9 of 'validation' are asked for; it has 8"):
        source.evaluation("validation", 5, 9)
    with pytest.raises(UsageError, match="no split 'val': there are train, validation, test"):
        source.evaluation("val", 0, 1)


def test_a_sampler_over_another_number_of_samples_is_an_error(small):
    dataset = small(50)
    with pytest.raises(ValueError, match="sampler over 50 images, but there are 42"):
        ShardSource(dataset, split(dataset, 8), Sampler(50, 16, 4, 0), Pipeline())


def test_a_configuration_opens_everything(monkeypatch, small):
    asked = []

    def opened(name, data_dir):
        asked.append((name, data_dir))
        return small(100)

    monkeypatch.setattr(shards, "open_dataset", opened)
    source = open_source(
        DataConfig(dataset="some", validation=-1, augment=("crop:2",)),
        TrainingConfig(batch_size=20, shard_size=5, seed=9),
        "folder",
    )
    assert asked == [("some", "folder")]
    assert (source.size("train"), source.size("validation")) == (90, 10)
    assert source.sampler == Sampler(90, 20, 5, 9)
    assert [op.name for op in source.pipeline.operations] == ["crop"]


def test_a_window_decides_what_the_network_sees_in_training_and_in_evaluation(small):
    source = _source(small(50, side=9), ("window:5:6:1", "flip"))
    assert source.image_shape == (5, 6, 3)
    assert source.images(0, 0)[0].shape == (4, 5, 6, 3)
    for name in ("train", "validation", "test"):
        assert source.evaluation(name, 0, 2)[0].shape == (2, 5, 6, 3)
        assert source.evaluation(name, 0, 2, "lower left")[0].shape == (2, 5, 6, 3)
