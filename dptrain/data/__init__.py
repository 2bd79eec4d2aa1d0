"""Data sets (download, installation, readers), the order of their images, augmentation, and the shards made of them."""

from dptrain.data.catalog import NAMES, data_home, open_dataset
from dptrain.data.dataset import Dataset, Split, split
from dptrain.data.shards import Pipeline, Sampler, ShardSource, open_source, permutation

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
