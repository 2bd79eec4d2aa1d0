"""docs/reference/data.md has every data set with the words of its descriptor, and every augmentation operation, and
benchmarks/augment.py measures them.
"""

from __future__ import annotations

import pytest

from benchmarks.augment import SPECS
from dptrain.data.augment import OPERATIONS
from dptrain.data.datasets import DATASETS

#: Rows of data sets that a user makes.
OWN = ("`folder:PATH`", "`npz:FILE`", "`array:HASH:HxWxC`")


@pytest.fixture
def page(root):
    return (root / "docs" / "reference" / "data.md").read_text()


def test_the_table_of_data_sets_has_one_row_per_descriptor(page):
    """Where it fails, copy the row that is missing from the message."""
    wanted = [
        f"| {', '.join(f'`{name}`' for name in known.names())} | {known.summary()} | {known.origin()} |"
        for known in DATASETS.values()
    ]
    assert [row for row in wanted if row not in page.splitlines()] == []
    table = page.split("| `--dataset` |")[1].split("\n\n")[0].splitlines()[2:]
    assert [row for row in table if row not in wanted and not any(own in row for own in OWN)] == []


def test_every_operation_is_in_the_page(page):
    assert [kind.usage() for kind in OPERATIONS.values() if f"`{kind.usage()}`" not in page] == []


def test_the_benchmark_measures_every_operation():
    assert {spec.split(":")[0] for spec in SPECS} == set(OPERATIONS)
