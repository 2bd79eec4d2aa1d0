"""Data sets, the order of samples, augmentation, shards made of them. Not here: who computes a shard, and kernels."""

from dptrain.data.augment import Pipeline
from dptrain.data.catalog import NAMES, data_home, open_dataset
from dptrain.data.dataset import Dataset, Split, split
from dptrain.data.sampler import Sampler, permutation
from dptrain.data.shards import ShardSource, open_source

__all__ = [
    "NAMES",
    "Dataset",
    "Pipeline",
    "Sampler",
    "ShardSource",
    "Split",
    "data_home",
    "open_dataset",
    "open_source",
    "permutation",
    "split",
]
