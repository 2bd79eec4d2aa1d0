"""Data sets (download, installation, readers), the order of their images, augmentation, and the shards made of them."""

from dptrain.data.catalog import NAMES, data_home, open_dataset
from dptrain.data.dataset import Dataset
from dptrain.data.pipeline import Pipeline
from dptrain.data.sampler import Sampler, permutation
from dptrain.data.shards import ShardSource, open_source
from dptrain.data.split import Split, split

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
