"""Every test and command that protocol.md and security.md name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["docs/explanation/protocol.md", "docs/explanation/security.md"]


def named_tests(document):
    """(file, test or ""), as far as a test is named whole or up to a star; a bare `::test` is of the file before it."""
    text = (ROOT / document).read_text()
    file = ""
    for name, test in re.findall(r"`(?:tests/)?([\w/]*?\.py)?(?:::(test_\w+))?\*?`", text):
        file = name or file
        if file.rsplit("/", 1)[-1].startswith("test_"):
            yield file, test


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_a_document_names_exists(document):
    found = list(named_tests(document))
    assert len(found) > 15
    folders = ("", "security/")
    missing = []
    for file, test in found:
        path = next((p for p in (ROOT / "tests" / folder / file for folder in folders) if p.is_file()), None)
        if path is None or f"def {test}" not in path.read_text():
            missing.append(f"{file}::{test}")
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_verb_of_the_soak_script_a_document_names_exists(document):
    help_text = (ROOT / "launch" / "soak.sh").read_text()
    verbs = set(re.findall(r"launch/soak\.sh (\w+)", (ROOT / document).read_text()))
    assert verbs
    assert [verb for verb in verbs if f"launch/soak.sh {verb}" not in help_text] == []
