"""Which training samples are set aside for validation: a pure function of two counts, not of the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dptrain.data.dataset import Dataset
from dptrain.errors import UsageError
from dptrain.kernels import philox
from dptrain.types import I64


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Positions in the data set's training part, ascending; together each exactly once."""

    train: I64
    validation: I64


def split(dataset: Dataset, validation: int) -> Split:
    """Sets `validation` samples aside (-1: a tenth, rounded down; 0: none).

    The rule: validation samples are the first ones of the Philox order with seed 0 in the domain SPLIT. So every run
    over the same set has the same ones, a larger split contains a smaller one, and sorted or striped files do no harm.
    Raises UsageError where nothing would be left to train on.
    """
    n = dataset.train_labels.size
    if validation < -1 or validation >= n:
        raise UsageError(
            f"validation is {validation}; {dataset.name} has {n} training samples: "
            f"allowed are 0 ... {n - 1}, or -1 for a tenth"
        )
    count = n // 10 if validation == -1 else validation
    order = philox.permutation(0, philox.domains.SPLIT, 0, n)
    return Split(train=np.sort(order[count:]), validation=np.sort(order[:count]))
