"""docs/reference/data.md names every data set and every operation there is."""

from __future__ import annotations

from dptrain.data.augment import OPERATIONS
from dptrain.data.catalog import NAMES


def test_every_data_set_and_every_operation_is_in_the_page(root):
    page = (root / "docs" / "reference" / "data.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []
    assert [kind.usage() for kind in OPERATIONS.values() if f"`{kind.usage()}`" not in page] == []
