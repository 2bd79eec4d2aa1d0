"""The site: its generated pages are complete, and its tables name what the code has."""

import ast
import importlib.util
import re
import tomllib
from types import SimpleNamespace

import pytest

from dptrain import errors
from dptrain.cli.app import VERBS
from dptrain.recipefile import OTHER_ENV
from dptrain.settings import SETTINGS


@pytest.fixture(scope="module")
def hooks(root):
    """docs/hooks.py, which is no package."""
    pytest.importorskip("mkdocs", reason="extra docs is missing")
    found = importlib.util.spec_from_file_location("hooks", root / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_page_of_commands_has_every_verb_and_links_to_the_settings_it_takes_whole(hooks):
    page = hooks.command_line()
    assert [verb for verb in VERBS if f"\n## dptrain {verb}\n" not in page] == []
    train = page.split("## dptrain train\n")[1].split("\n## ")[0]
    assert "(settings.md#training)" in train
    assert "--batch-size" in train.split("**Most used**")[1].split("**Data**")[0]
    assert "--weight-decay" not in train
    assert "--batch-size" in page.split("## dptrain bench\n")[1].split("\n## ")[0]


def test_the_page_of_settings_has_every_setting_once(hooks):
    rows = re.findall(r"^\| `(\w+)` \|", hooks.settings(), re.MULTILINE)
    assert rows == list(SETTINGS)


def test_links_of_the_contributing_page_lead_to_pages_and_other_files_are_code(hooks):
    page = hooks.from_the_top("CONTRIBUTING.md")
    assert "(explanation/architecture.md)" in page
    assert "](docs/" not in page
    assert "](LICENSE)" not in hooks.from_the_top("README.md")


def test_every_diagram_of_the_documents_becomes_a_picture_that_is_part_of_its_page(hooks, root):
    pages = [path.read_text() for path in (root / "docs").rglob("*.md") if "```mermaid" in path.read_text()]
    assert len(pages) >= 4
    for page in pages:
        drawn = hooks.on_page_markdown(page)
        assert "```mermaid" not in drawn
        assert drawn.count('src="data:image/svg+xml;base64,') == page.count("```mermaid")


@pytest.mark.parametrize(
    "page",
    ['<script src="https://x.org/a.js">', "<script src=//x.org/a.js>", '<link rel="stylesheet" href="http://x/a">'],
)
def test_a_page_that_loads_a_file_from_another_host_is_refused(hooks, page):
    where = SimpleNamespace(file=SimpleNamespace(src_uri="glossary.md"))
    with pytest.raises(hooks.PluginError, match=r"glossary\.md loads .*//x.* without a network"):
        hooks.on_post_page(page, page=where)
    linked = '<a href="https://x.org">x</a><script src="a.js"></script><link rel="canonical" href="https://x.org/">'
    assert hooks.on_post_page(linked, page=where) == linked


def test_every_exit_code_and_every_environment_variable_is_in_its_table(root):
    codes = (root / "docs/reference/exit-codes.md").read_text()
    raised = {e.exit_code for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.DptrainError)}
    assert raised >= {64, 70, 75, 78}
    assert [code for code in raised if f"\n| {code} |" not in codes] == []
    variables = (root / "docs/reference/environment.md").read_text()
    assert [name for name in OTHER_ENV if f"\n| `{name}` |" not in variables] == []


def test_the_glossary_has_its_words_in_a_table(root):
    assert len(re.findall(r"^\| \*\*", (root / "docs/glossary.md").read_text(), re.MULTILINE)) == 22


def test_the_site_is_built_by_the_checks(root):
    assert "mkdocs build --strict" in (root / "launch/check.sh").read_text()


def names(path):
    """Functions and classes of a file, and `Class.method`."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef))


def test_every_function_that_the_four_ways_through_the_code_name_exists(root):
    text = (root / "docs/explanation/four-ways.md").read_text()
    rows = re.findall(r"^\| [^|`]+ \| `(\S+)` \| `(\S+)` \|", text, re.MULTILINE)
    assert len(rows) > 70
    assert [row for row in rows if not (root / row[0]).is_file() or row[1] not in names(root / row[0])] == []


def test_each_way_through_the_code_has_one_row_per_file_and_counts_them(root):
    ways = (root / "docs/explanation/four-ways.md").read_text().split("\n## ")[1:4]
    for way in ways:
        files = re.findall(r"^\| (\d+) \| `(\S+)` \|", way, re.MULTILINE)
        assert [int(number) for number, _ in files] == list(range(1, len(files) + 1))
        assert len({file for _, file in files}) == len(files), way.splitlines()[0]
        assert f"\n{len(files)} files" in way, way.splitlines()[0]


def test_contributing_shows_the_layers_of_the_import_rule(root):
    [rule] = [
        rule
        for rule in tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if rule["type"] == "layers"
    ]
    layers = [layer.removeprefix("dptrain.") for layer in rule["layers"]]
    shown = (root / "CONTRIBUTING.md").read_text().split("Layers, from the top down")[1].split("```")[1]
    assert shown.strip().splitlines() == layers
