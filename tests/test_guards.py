"""Every rule that launch/check.sh applies: a copy of the repository that breaks it does not pass.

The commands are those of launch/check.sh, run in the copy. What pytest checks about files (tests/test_layout.py,
tests/test_policy.py) is broken in one copy, all rules at once, and every test of it must fail there.
"""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}

#: What launch/check.sh runs, as written there: "ruff check", "mypy --strict dptrain ...", ...
COMMANDS = re.findall(r"^check (.+)$", (ROOT / "launch" / "check.sh").read_text(), re.MULTILINE)


def command(tool):
    """The command of launch/check.sh that runs `tool`."""
    (found,) = [line for line in COMMANDS if tool in line]
    return found


class Copy:
    """A copy of the repository, and what the commands say about it."""

    def __init__(self, path):
        self.path = path
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in filter(None, names):
            source, target = ROOT / name, path / name
            if source.is_symlink() or source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        if (ROOT / ".mypy_cache").is_dir():  # check.sh runs mypy first; without its cache each copy takes ten seconds
            shutil.copytree(ROOT / ".mypy_cache", path / ".mypy_cache")

    def run(self, line):
        """Exit code, output."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "DPTRAIN_"))}
        environ |= {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "COLUMNS": "400"}
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.path, env=environ, capture_output=True, text=True, timeout=200
        )
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def broken(self, path, text):
        """With `text` at the end of the file `path`, which is made if it is not there."""
        file = self.path / path
        before = file.read_text() if file.exists() else None
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((before or "") + text)
        try:
            yield
        finally:
            if before is None:
                file.unlink()
            else:
                file.write_text(before)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("guards") / "dptrain")


def test_the_copy_passes_before_anything_is_broken(copy):
    assert [line.split()[0] for line in COMMANDS][-1] == "python", "pytest is the last command"
    for line in COMMANDS[:-1]:
        code, said = copy.run(line)
        assert code == 0, f"{line}\n{said}"


# --- ruff

#: For every family that is selected: a line, and the rule that refuses it in the file dptrain/nn/broken.py.
LINES = {
    "E": ("E741", "l = 1"),
    "F": ("F401", "import os"),
    "I": ("I001", "import sys\nimport os\nprint(os, sys)"),
    "UP": ("UP006", "from typing import List\nNAMES: List[str] = []"),
    "B": ("B006", "def f(x: list[int] = []) -> None:\n    '''Nothing.'''"),
    "SIM": ("SIM201", "OTHER = not 1 == 2"),
    "RUF": ("RUF100", "WIDTH = 1  # noqa: E501"),
    "PT": ("PT015", "def test_f() -> None:\n    '''Nothing.'''\n    assert False"),
    "D": ("D103", "def f() -> None:\n    pass"),
    "ANN": ("ANN001", "def f(x) -> None:\n    '''Nothing.'''"),
    "TRY": ("TRY201", "try:\n    pass\nexcept ValueError as e:\n    raise e"),
    "BLE": ("BLE001", "try:\n    pass\nexcept Exception:\n    pass"),
    "ERA": ("ERA001", "# x = f(1)"),
    "PLR0913": (
        "PLR0913",
        "def f(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None:\n    '''Nothing.'''",
    ),
    "C901": ("C901", "def f(x: int) -> None:\n    '''Nothing.'''\n" + "    if x:\n        x += 1\n" * 12),
    "NPY": ("NPY002", "import numpy as np\n\nnp.random.seed(1)"),
    "PGH": ("PGH003", "X = f(1)  # type: ignore"),
    "FBT": ("FBT001", "def f(x: bool) -> None:\n    '''Nothing.'''"),
}


def test_every_family_of_rules_that_ruff_is_asked_for_has_a_line_here():
    assert set(LINES) == set(PROJECT["tool"]["ruff"]["lint"]["select"])


@pytest.mark.parametrize("family", LINES)
def test_ruff_refuses_a_line_that_breaks_a_rule(copy, family):
    rule, line = LINES[family]
    with copy.broken("dptrain/nn/broken.py", f'"""Breaks {rule}."""\n\n{line}\n'):
        code, said = copy.run(command("ruff check"))
    assert code == 1
    assert re.search(rf"\b{rule}\b", said), said


@pytest.mark.parametrize("folder", ["dptrain/nn", "workers", "launch", "benchmarks", "tools", "tests"])
def test_ruff_refuses_unformatted_code_in_every_folder(copy, folder):
    with copy.broken(f"{folder}/broken.py", '"""Not formatted."""\nx = {  "a":1 }\n'):
        code, said = copy.run(command("ruff format"))
    assert code == 1
    assert f"{folder}/broken.py" in said


# --- bash, mypy, the site


@pytest.mark.parametrize("script", ["launch/venv.sh", "launch/soak.sh", ".ci/run"])
def test_bash_refuses_a_script_it_cannot_parse(copy, script):
    with copy.broken(script, "\nif true\n"):
        code, said = copy.run(command("bash -n"))
    assert code != 0
    assert script in said


#: File, text added at its end, what mypy says.
TYPES = {
    "a wrong argument to a function of workers/": (
        "dptrain/api/session.py",
        "\n\nfrom dptrain.workers.entry import run as _entry\n\n_entry('launcher', lambda: 0)\n",
        'Argument 1 to "run" has incompatible type "str"; expected "int"',
    ),
    "a wrong result of a function of workers/": (
        "dptrain/cli/processes.py",
        "\n\nfrom dptrain.workers.entry import run as _entry\n\n_code: str = _entry(0, lambda: 0)\n",
        'expression has type "int", variable has type "str"',
    ),
    "a name that launch/ does not have": (
        "dptrain/api/session.py",
        "\n\nfrom dptrain.launch.health import sickness\n",
        'Module "dptrain.launch.health" has no attribute "sickness"',
    ),
    "a wrong argument inside workers/": (
        "workers/entry.py",
        "\n\nrun('launcher', lambda: 0)\n",
        'Argument 1 to "run" has incompatible type "str"; expected "int"',
    ),
    "a function without types": ("dptrain/nn/layer.py", "\n\ndef _f(x):\n    return x\n", "[no-untyped-def]"),
    "an error in tools/": ("tools/mutate.py", "\n\nX: int = ''\n", "[assignment]"),
    "an error in benchmarks/": ("benchmarks/sides.py", "\n\nX: int = ''\n", "[assignment]"),
}


@pytest.mark.parametrize("what", TYPES)
def test_mypy_refuses(copy, what):
    path, text, expected = TYPES[what]
    with copy.broken(path, text):
        code, said = copy.run(command("mypy"))
    assert code == 1
    assert expected in said, said


def test_mkdocs_refuses_a_page_that_links_to_nothing(copy):
    with copy.broken("docs/index.md", "\n[Nothing](nowhere.md)\n"):
        code, said = copy.run(command("mkdocs"))
    assert code != 0
    assert "nowhere.md" in said


# --- import contracts

#: (words of the contract's name, file, the import that breaks it)
IMPORTS = [
    ("Layers", "dptrain/net/address.py", "from dptrain.workers.parts import open_parts"),
    ("Layers", "dptrain/nn/activations.py", "from dptrain.workers.parts import open_parts"),
    ("Layers", "dptrain/cluster/tree.py", "import dptrain.processes.stopping"),
    ("Layers", "workers/parts.py", "import dptrain.api.session"),
    ("Layers", "launch/health.py", "import dptrain.errors"),
    ("Layers", "launch/health.py", "from dptrain.workers import entry"),
    ("Layers", "dptrain/new.py", "# a module that has no line in the contract"),
    ("know a network only as dptrain.model", "dptrain/cluster/tree.py", "import dptrain.kernels.loss"),
    ("know a network only as dptrain.model", "dptrain/loop.py", "import dptrain.nn"),
    ("Only dptrain.net", "dptrain/engine/plan.py", "import zmq"),
    ("Only dptrain.net", "workers/entry.py", "import zmq"),
    ("Only kernels", "dptrain/nn/layer.py", "from numba import njit"),
    ("Only kernels", "workers/entry.py", "import llvmlite"),
    ("no clock", "dptrain/cluster/tree.py", "import time"),
    ("no clock", "dptrain/loop.py", "import socket"),
    ("no clock", "dptrain/cluster/worker.py", "from random import random"),
    ("benchmarks compare", "dptrain/errors.py", "import benchmarks.beside"),
    ("benchmarks compare", "workers/entry.py", "from benchmarks import sides"),
    ("Code that runs", "benchmarks/torch_step.py", "import dptrain.errors"),
    ("Code that runs", "benchmarks/pyfunt_step.py", "from dptrain.workers import entry"),
]


def test_every_import_contract_has_a_line_here():
    assert [name for name in CONTRACTS if not any(words in name for words, _, _ in IMPORTS)] == []


@pytest.mark.parametrize(("words", "path", "line"), IMPORTS)
def test_an_import_contract_is_broken_by(copy, words, path, line):
    with copy.broken(path, f"\n{line}\n"):
        code, said = copy.run(command("lint-imports"))
    assert code == 1
    assert re.search(rf"^.*{re.escape(words)}.* BROKEN\b", said, re.MULTILINE), said


# --- what pytest checks about the files


def rules_of_policy():
    spec = importlib.util.spec_from_file_location("policy", ROOT / "tests" / "test_policy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RULES


def functions(file):
    return {f.name for f in ast.parse(file.read_text()).body if getattr(f, "name", "").startswith("test_")}


def test_every_rule_of_layout_and_policy_fails_where_it_is_broken(tmp_path):
    broken = Copy(tmp_path / "dptrain")
    written = {
        "dptrain/kernels/reference/lonely.py": '"""No twin."""\n\ndef f(x: int) -> int:\n    return x\n',
        "dptrain/kernels/reference/loss.py": "\ndef more(x: int) -> int:\n    return x\n",
        "dptrain/kernels/unheld.py": '"""A kernel that no test compares with anything."""\n',
        "dptrain/attic/silent.py": "x = 1\n",
        "dptrain/nn/utils.py": '"""Long."""\n' + "x = 1\n" * 600,
        "tests/nn/__init__.py": "",
        "docs/place.md": "/" + "work/shared\n",
    }
    for _, path, line in rules_of_policy():
        written[path] = written.get(path, "") + line + "\n"
    for path, text in written.items():
        place = broken.path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a") as file:
            file.write(text)
    (broken.path / "launch" / "check.sh").chmod(0o644)
    for document in ("README.md", "CONTRIBUTING.md"):
        with (broken.path / document).open("a") as file:
            file.write("\n[Nothing](nowhere.md)\n")
    for emptied in ("dptrain/pickles.py", "tests/kernels/test_normal.py"):  # one needs no exception, one is named
        (broken.path / emptied).write_text('"""Empty."""\n')

    options = "-q --tb=no -rf -p no:xdist -p no:cacheprovider"
    code, said = broken.run(f"python -m pytest {options} tests/test_layout.py tests/test_policy.py")
    assert code == 1
    failed = {
        line.split("::")[1].split("[")[0].split(" ")[0] for line in re.findall(r"^FAILED (.*)$", said, re.MULTILINE)
    }
    files = [ROOT / "tests" / name for name in ("test_layout.py", "test_policy.py")]
    # These two show lines to the rules themselves.
    of_rules = {"test_each_rule_sees_a_line_that_breaks_it", "test_the_search_for_paths_of_one_machine_sees_one"}
    assert failed == set.union(*map(functions, files)) - of_rules
    rules = {rule.__name__ for rule, _, _ in rules_of_policy()}
    assert set(re.findall(r"FAILED tests/test_policy.py::test_no_file\[(\w+)\]", said)) == rules
