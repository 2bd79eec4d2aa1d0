"""Data sets from Python."""

from __future__ import annotations

from dptrain.api.settings import in_python
from dptrain.data.catalog import open_dataset
from dptrain.data.dataset import Dataset


@in_python()
def load_data(name: str, data_dir: str = "") -> Dataset:
    """As `--dataset` and `--data-dir` name it: `fashion-mini`, `cifar100:coarse`, `folder:./pictures`.

    Raises UsageError for an unknown name or option, DataError where files are missing or not what they should be.
    """
    return open_dataset(name, data_dir)
