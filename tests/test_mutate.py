"""tools/mutate.py breaks lines by their text: a line that was rewritten must not drop out of its list unseen."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("mutate", ROOT / "tools" / "mutate.py")
mutate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutate)


@pytest.mark.parametrize("mutation", mutate.MUTATIONS, ids=lambda m: f"{Path(m.path).name}-{m.old[:40]}")
def test_the_line_to_break_stands_once_and_its_tests_exist(mutation):
    assert (ROOT / mutation.path).read_text().count(mutation.old) == 1
    assert all((ROOT / test).is_file() for test in mutation.tests.split())
