"""The commands that the documents show are commands the command line accepts."""

import re
import shlex
from pathlib import Path

import pytest

from dptrain.cli.app import build_app

ROOT = Path(__file__).resolve().parents[2]
SILENT = {"protocol-guarantees.md", "python.md"}  #: show other things than our verbs
PAGES = ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md") if page.name not in SILENT)]


def commands(root, document):
    """Every command a document shows, in a shell block or between backticks, as words; no variables, no comments."""
    text = (root / document).read_text().replace("\\\n", " ")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    shown = re.findall(r"`(dptrain [^`]*--[^`]*)`", text)  # a verb alone is a word, and `dptrain eval RUN` a pattern
    wanted = [*(line for block in blocks for line in block.splitlines()), *map(" ".join, map(str.split, shown))]
    lines = [shlex.split(line, comments=True) for line in wanted if "..." not in line]
    started = [[word for word in line if not re.match(r"DPTRAIN_\w+=", word)] for line in lines]
    return [line[1:] for line in started if line[:1] == ["dptrain"]]


@pytest.mark.parametrize("document", PAGES)
def test_every_command_a_document_shows_is_accepted(root, document):
    found = commands(root, document)
    assert found, "nothing was found in it: is the pattern right?"
    for command in found:
        build_app().parse_args(command, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_script_a_document_starts_exists(root, document):
    scripts = set(re.findall(r"\./(launch/\w+\.sh)", (root / document).read_text()))
    assert scripts
    assert [script for script in scripts if not (root / script).exists()] == []
