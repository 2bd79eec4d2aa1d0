"""docs/predecessors.md: all 85 rows are there, each has its state, and what it points to exists."""

import re

import pytest

from dptrain.cli.app import VERBS


@pytest.fixture(scope="module")
def text(root):
    return (root / "docs" / "predecessors.md").read_text()


@pytest.fixture(scope="module")
def lines(text):
    """(number, what, state, shown by) of the checklist."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return [(int(row[0]), *row[1:]) for row in rows if row[0].isdecimal()]


def test_there_are_85_lines_in_order_each_with_a_state(lines):
    assert [number for number, *_ in lines] == list(range(1, 86))
    assert {state for _, _, state, _ in lines} <= {"yes", "part", "open"}


def test_every_line_that_says_yes_points_to_a_command_or_a_test(lines):
    named = re.compile(r"`(tests/\w|dptrain \w|--\w|python tools/\w)")
    assert [number for number, _, state, shown in lines if state == "yes" and not named.search(shown)] == []


def test_every_test_it_names_exists(root, text):
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text))
    assert len(named) > 60
    missing = [
        f"{path}::{name}"
        for path, name in sorted(named)
        if not (root / path).is_file() or f"\ndef {name}(" not in (root / path).read_text()
    ]
    assert missing == []


def test_every_verb_it_names_exists(text):
    assert set(re.findall(r"`dptrain (\w+)", text)) <= set(VERBS)


def test_every_file_it_points_to_exists(root, text):
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    assert [t for t in targets if t[0] != "#" and not (root / "docs" / t.partition("#")[0]).exists()] == []
    headings = {
        "#" + re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert {t for t in targets if t[0] == "#"} <= headings
