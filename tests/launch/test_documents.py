"""The commands that the documents show are accepted by the command line, and on every page some are run.

Run is a block of shell behind a line `<!-- run -->`, all of a page in one folder; what stands behind a line
`<!-- file: NAME -->` is a file there.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dptrain.cli.app import build_app

ROOT = Path(__file__).resolve().parents[2]
SILENT = {"protocol-guarantees.md", "python.md"}  #: show other things than our verbs
NO_PAGES = {"LOG.md", "python.md"}  #: a diary; and tests/api runs the other one
RUN = [f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in NO_PAGES]
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


def examples(text):
    """Files by name, and what is run, block by block."""
    files = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))
    return files, re.findall(r"<!-- run -->\n```sh\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("document", RUN)
def test_what_a_document_says_can_be_run_can_be(root, tmp_path, document):
    files, blocks = examples((root / document).read_text())
    assert blocks, "a page has an example that is run"
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    path = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    data = {"DPTRAIN_DATA": str(tmp_path / "data")}
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env=os.environ | path | data,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, block + done.stdout + done.stderr


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_script_a_document_starts_exists(root, document):
    scripts = set(re.findall(r"\./(launch/\w+\.sh)", (root / document).read_text()))
    assert scripts
    assert [script for script in scripts if not (root / script).exists()] == []
