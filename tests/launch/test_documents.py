"""The commands in README and CONTRIBUTING are commands the command line accepts."""

import re
import shlex

import pytest

from dptrain.cli.app import build_app


def commands(root, document):
    """Every line of the document's shell blocks that starts dptrain, as words, without variables and comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (root / document).read_text(), re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    started = [[word for word in line if not re.match(r"DPTRAIN_\w+=", word)] for line in lines]
    return [line[1:] for line in started if line[:1] == ["dptrain"]]


def test_every_command_of_the_readme_is_accepted(root):
    found = commands(root, "README.md")
    assert len(found) >= 5
    for command in found:
        build_app().parse_args(command, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_script_a_document_starts_exists(root, document):
    scripts = set(re.findall(r"\./(launch/\w+\.sh)", (root / document).read_text()))
    assert scripts
    assert [script for script in scripts if not (root / script).exists()] == []
