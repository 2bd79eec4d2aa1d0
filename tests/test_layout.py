"""The shape of the house: sizes of files, twins of kernels, docstrings, a table that names the folders there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("dptrain", "workers", "launch", "benchmarks", "tools")
MOST = 600  #: lines; more does not pass
MANY = 400  #: lines; more needs a reason here

#: Files between MANY and MOST lines, and why each is still one noun.
LONG = {
    "tests/simulation/world.py": "one world: what can happen to any of its actors, in one order of events",
    "dptrain/cluster/round.py": "one step: its results, the audits, the sum of the tree",
    "dptrain/cluster/worker.py": "one state machine: every event of a worker and what follows",
    "dptrain/data/augment.py": "one chain of operations, each with its parameters",
    "tests/cluster/test_worker.py": "one machine: every event it can get, each with the whole list of actions",
}

#: Scalar functions that other kernels inline, and whose twin is the reference of their array form.
INLINED = {"elementary": {"exp_scalar", "log_scalar"}}


def files(*folders):
    return [f for folder in folders for f in sorted((ROOT / folder).rglob("*.py"))]


def name(path):
    return path.relative_to(ROOT).as_posix()


def lines(path):
    return len(path.read_text().splitlines())


def test_no_file_is_longer_than_the_limit_and_every_long_one_has_its_reason():
    long = {name(f): lines(f) for f in files(*CODE, "tests") if lines(f) > MANY}
    assert {path: n for path, n in long.items() if n > MOST} == {}
    assert set(long) == set(LONG), "a file has grown beyond 400 lines, or a listed one has shrunk"


def test_every_file_says_what_lives_in_it():
    def silent(path):
        return not (ast.get_docstring(ast.parse(path.read_text())) or "").strip()

    assert [name(f) for f in files(*CODE, "tests") if silent(f)] == []


def test_every_package_has_an_init_so_that_the_wheel_and_the_import_rules_see_it():
    folders = {f.parent for f in files("dptrain", "workers", "launch", "benchmarks")}
    assert [name(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_tests_are_files_and_not_packages():
    assert [name(f) for f in files("tests") if f.name == "__init__.py"] == []


# --- kernels: the reference, its fast twin, and the test that holds them together


def operations():
    folders = [f for f in (ROOT / "dptrain" / "kernels").iterdir() if f.is_dir()]
    # The fused passes' readable twin is dptrain.nn; tests/engine holds them together.
    return sorted(f.name for f in folders if f.name not in ("intrinsics", "fused", "__pycache__"))


def signatures(path):
    """Public function -> parameters and result as written; the fast twin may say F32 where the reference is wider."""
    tree = ast.parse(path.read_text())
    functions = [f for f in tree.body if isinstance(f, ast.FunctionDef) and not f.name.startswith("_")]
    return {
        f.name: re.sub(r"\bF32\b", "Floats", f"({ast.unparse(f.args)}) -> {ast.unparse(f.returns)}") for f in functions
    }


@pytest.mark.parametrize("operation", operations())
def test_an_operation_has_a_reference_a_fast_twin_and_a_test(operation):
    folder = ROOT / "dptrain" / "kernels" / operation
    wanted = [folder / "reference.py", folder / "jit.py", ROOT / "tests" / "kernels" / f"test_{operation}.py"]
    assert [name(f) for f in wanted if not f.exists()] == []


@pytest.mark.parametrize("operation", operations())
def test_the_twins_have_the_same_functions_with_the_same_signatures(operation):
    folder = ROOT / "dptrain" / "kernels" / operation
    reference, jit = signatures(folder / "reference.py"), signatures(folder / "jit.py")
    assert reference, "a reference without public functions defines nothing"
    assert {f: s for f, s in jit.items() if f not in INLINED.get(operation, ())} == reference


# --- README and CONTRIBUTING


def table(heading):
    """First column of the table under `heading` of CONTRIBUTING.md, without backticks."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")]
    return [re.sub("`", "", row) for row in rows]


def folders_of_the_house():
    """Every folder a reader of the repository meets: the top level and the packages of the library."""
    hidden = re.compile(r"^[.]|__pycache__|egg-info")
    made = {"build", "dist", "runs"}  # at the top level; dptrain/runs/ is a folder of the library
    visible = (f for f in ROOT.iterdir() if f.is_dir() and not hidden.search(f.name) and f.name not in made)
    top = [f.name for f in visible if any(f.iterdir())]
    packages = (f for f in (ROOT / "dptrain").iterdir() if f.is_dir() and not f.is_symlink())  # links: to the top level
    library = [f"dptrain/{f.name}" for f in packages if not hidden.search(f.name)]
    return {f"{folder}/" for folder in top + library}


def test_contributing_names_exactly_the_folders_there_are():
    named = table("Where things are")
    assert len(named) == len(set(named))
    assert set(named) == folders_of_the_house()


def test_files_the_documents_point_to_exist():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        targets = [
            t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t and not t.startswith("#")
        ]
        assert [t for t in targets if not (ROOT / t).exists()] == [], document


def test_scripts_can_be_started():
    scripts = [ROOT / ".ci" / "run", *sorted((ROOT / "launch").glob("*.sh"))]
    started = [s for s in scripts if s.read_text().startswith("#!")]
    assert {s.name for s in started} >= {"run", "local.sh", "check.sh"}
    assert [name(s) for s in started if not s.stat().st_mode & 0o100] == []
