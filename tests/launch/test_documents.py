"""The commands that the documents show are accepted by the command line, and the examples behind `<!-- run -->` run.

The blocks of a page run in one folder: each block of shell by itself, and all blocks of Python as one program, where
the first one stands. A block behind `<!-- file: NAME -->` is a file in that folder.
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


def text_of(document):
    return (ROOT / document).read_text()


FENCE = r"```(sh|python)\n(.*?)```"
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md") if page.name != "LOG.md"),
]
#: Pages in which a reader types something. An example of each runs.
PRACTICAL = [page for page in PAGES if page.startswith(("docs/tutorial/", "docs/howto/")) or page == "README.md"]
#: Their commands need other hosts, Docker or files that are not here; they are only parsed.
NOT_RUN = {"docs/howto/containers.md"}
#: Their examples run as they are written, but what they leave to the defaults is smaller: 2,880 of 5,400 images, and
#: one worker where it compiles a network that no other example has.
FEWER = {page: {"DPTRAIN_SAMPLES": "2880"} for page in ("README.md", "from-python.md", "two-workers.md")}
FEWER["own-network.md"] = {"DPTRAIN_WORKERS": "1"}
#: The first one compiles the kernels of most pages, in one process; two workers would each compile all of them.
RUN = sorted((page for page in PAGES if "<!-- run -->" in text_of(page)), key=lambda page: "first-run" not in page)


def commands(text):
    """Every command a document shows, in a shell block or between backticks, as words; no variables, no comments."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    shown = re.findall(r"`(dptrain [^`]*--[^`]*)`", text)  # a verb alone is a word, and `dptrain eval RUN` a pattern
    wanted = [*(line for block in blocks for line in block.splitlines()), *map(" ".join, map(str.split, shown))]
    lines = [shlex.split(line.rstrip("&"), comments=True) for line in wanted if "..." not in line]
    started = [[word for word in line if not re.match(r"DPTRAIN_\w+=", word)] for line in lines]
    return [line[1:] for line in started if line[:1] == ["dptrain"]]


@pytest.mark.parametrize("document", [page for page in PAGES if commands(text_of(page))])
def test_every_command_a_document_shows_is_accepted(document):
    for command in commands(text_of(document)):
        build_app().parse_args(command, exit_on_error=False, print_error=False)


def test_commands_are_found_in_every_part_of_the_documents():
    found = {page.split("/")[-2] if "/" in page else page for page in PAGES if commands(text_of(page))}
    assert found >= {"README.md", "docs", "tutorial", "howto", "reference", "explanation"}


def examples(text):
    """Files by name, and what is run, as (language, code) in order; the Python of a page is one program."""
    files = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))
    blocks = re.findall(r"<!-- run -->\n" + FENCE, text, re.DOTALL)
    program = "\n".join(code for language, code in blocks if language == "python")
    once = [i for i, (language, _) in enumerate(blocks) if language == "python"][:1]
    return files, [
        (language, program if language == "python" else code)
        for i, (language, code) in enumerate(blocks)
        if language == "sh" or i in once
    ]


@pytest.mark.system
@pytest.mark.parametrize("document", RUN)
def test_the_examples_of_a_document_run(tmp_path, document):
    files, blocks = examples(text_of(document))
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    path = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    settings = {"DPTRAIN_DATA": str(tmp_path / "data")} | FEWER.get(Path(document).name, {})
    output = ""
    for language, code in blocks:
        run = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-W", "error", "-c"]
        done = subprocess.run(
            [*run, code], cwd=tmp_path, env=os.environ | path | settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, code + done.stdout + done.stderr
        if language == "python":  # where the cache is empty, it says that it compiles
            assert re.sub(r"compiling kernels[ :].*\n", "", done.stderr) == "", done.stderr
        output += done.stdout
    if document.endswith("first-run.md"):  # "Your losses and accuracies are the same to the last digit"
        shown = re.search(r"```text\n(.*?)```", text_of(document), re.DOTALL)[1]
        assert without_times(shown) in without_times(output)


def without_times(lines):
    return re.sub(r"\d+:\d\d:\d\d", "TIME", lines)


def test_every_practical_page_has_an_example_that_is_run():
    assert [page for page in PRACTICAL if "<!-- run -->" not in text_of(page)] == sorted(NOT_RUN)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_script_a_document_starts_exists(root, document):
    scripts = set(re.findall(r"\./(launch/\w+\.sh)", text_of(document)))
    assert scripts
    assert [script for script in scripts if not (root / script).exists()] == []
