"""tools/mutate.py breaks lines by their text: a rewritten line must not drop out of its list unnoticed."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("mutate", ROOT / "tools" / "mutate.py")
mutate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutate)


@pytest.mark.parametrize("mutation", mutate.MUTATIONS, ids=lambda m: f"{Path(m.path).name}-{m.what}")
def test_the_line_to_break_stands_once_and_the_tests_that_must_notice_exist(mutation):
    text = (ROOT / mutation.path).read_text()
    assert text.count(mutation.old) == 1
    assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(text.replace(mutation.old, mutation.new)))
    for test in mutation.tests:
        file, name = test.split("[")[0].split("::")
        functions = [node.name for node in ast.parse((ROOT / file).read_text()).body if hasattr(node, "name")]
        assert name in functions, test


def test_every_test_that_must_notice_is_collected():
    """With its parameters: a case that got another name would be missing, and tools/mutate.py could not begin."""
    tests = sorted({test for mutation in mutate.MUTATIONS for test in mutation.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_important_files_are_broken_in_thirty_places_or_more():
    places = [mutation.path for mutation in mutate.MUTATIONS]
    assert len(places) >= 30
    for part in (
        "cluster/tree",
        "cluster/",
        "data/shards",
        "cluster/codec",
        "kernels/conv",
        "kernels/codegen",
        "runs/",
    ):
        assert any(path.startswith(f"dptrain/{part}") for path in places), part


def test_a_broken_line_that_no_test_notices_is_reported_and_the_tree_stays_unchanged(monkeypatch, capsys):
    place = "dptrain/cluster/tree.py"
    known = ("tests/cluster/test_tree.py::test_small_trees_have_the_nodes_listed_here",)
    before = (ROOT / place).read_text()
    noticed = mutate.MUTATIONS[0]._replace(tests=known)
    unseen = mutate.Mutation(place, '"shard {self.first}"', '"shard {self.last - 1}"', "the same number", known)
    monkeypatch.setattr(mutate, "MUTATIONS", (noticed, unseen))
    assert mutate.main([]) == 1
    said = capsys.readouterr().out
    texts = [((ROOT / m.path).read_text(), m.old) for m in (noticed, unseen)]
    line = [text[: text.index(old)].count("\n") + 1 for text, old in texts]
    assert f"| 1 | {noticed.path}:{line[0]} | {noticed.what} | {known[0]} |" in said
    assert f"| 2 | {place}:{line[1]} | the same number | NOTHING |" in said
    assert said.splitlines()[-1].startswith("1 of 2 caught")
    assert (ROOT / place).read_text() == before
