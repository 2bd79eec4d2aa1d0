"""Rules for every source file, checked by reading it. Each rule is tested with a line that breaks it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("dptrain", "workers", "launch", "benchmarks", "tools", "tests", "docs", ".ci")

#: The only files that may unpickle: three readers, each with its own list of admitted classes, and what they share.
UNPICKLERS = {f"dptrain/{at}.py" for at in ("data/datasets/cifar10", "interop/pyfunt", "interop/torchfile", "pickles")}
#: The order of arithmetic in these folders decides the bits of a run; the references define it, they don't run in it.
TRAINING_PATH = tuple(f"dptrain/{at}" for at in ("nn", "engine", "kernels", "optim", "cluster", "loop.py"))
#: BLAS and friends (order depends on the CPU and on threads), and libm (bits depend on the C library).
UNORDERED = {"dot", "vdot", "inner", "matmul", "einsum", "tensordot", "linalg", "convolve", "correlate"}
UNPORTABLE = {
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sin",
    "cos",
    "tan",
    "tanh",
    "pow",
    "power",
    "cbrt",
}


#: Random images whose values mean nothing: a benchmark's.
MEANINGLESS = {"dptrain/api/bench.py"}


def is_training_path(path):
    return path.startswith(TRAINING_PATH) and not path.startswith("dptrain/kernels/reference/")


def called(node):
    """The dotted name of a call's function, e.g. "np.random.default_rng"; "" for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def imported(node):
    """The dotted names an import statement binds."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def top_levels(node):
    return {name.split(".")[0] for name in imported(node)}


# --- the rules: (path, node) -> True where the node breaks it


def compiles_outside_the_one_decorator(path, node):
    if path == "dptrain/kernels/compiled.py":
        return False
    makers = {"jit", "njit", "vectorize", "guvectorize", "cfunc", "stencil", "jitclass"}
    named = {f"numba.{maker}" for maker in makers} | {"numba.experimental.jitclass"}
    return bool(named & set(imported(node))) or (isinstance(node, ast.Attribute) and ast.unparse(node) in named)


def relaxes_float_arithmetic(_path, node):
    return isinstance(node, ast.keyword) and node.arg in ("fastmath", "parallel")


def unpickles(path, node):
    if path in UNPICKLERS or path.startswith("tests/"):
        return False
    pickled = isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
    return bool(top_levels(node) & {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib"}) or pickled


def runs_text(path, node):
    return not path.startswith("tests/") and called(node) in {"eval", "exec", "compile", "__import__"}


def draws_from_a_generator_with_a_position(path, node):
    if path.startswith("tests/") or path in MEANINGLESS:
        return False
    numpys = isinstance(node, ast.Attribute) and ast.unparse(node) in ("np.random", "numpy.random")
    return numpys or bool({"random", "numpy.random"} & (top_levels(node) | set(imported(node))))


def adds_in_an_order_not_written_down(path, node):
    if not is_training_path(path):
        return False
    product = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult)
    module, _, name = ast.unparse(node).rpartition(".") if isinstance(node, ast.Attribute) else ("", "", "")
    return product or (module in ("np", "numpy") and name in UNORDERED)


def asks_the_c_library_for_a_function(path, node):
    if not is_training_path(path) or not isinstance(node, ast.Attribute):
        return False
    module, _, name = ast.unparse(node).rpartition(".")
    return module in ("np", "numpy", "math") and name in UNPORTABLE


def prints(path, node):
    """Text for people comes from the command line and from the reporter of a run."""
    library = path.startswith("dptrain/") and not path.startswith(("dptrain/cli/", "dptrain/runs/report"))
    return library and called(node) == "print"


def imports_torch(path, node):
    return path.startswith(("dptrain/", "workers/", "launch/")) and bool(top_levels(node) & {"torch", "torchvision"})


RULES = [
    (compiles_outside_the_one_decorator, "dptrain/nn/a.py", "from numba import njit"),
    (compiles_outside_the_one_decorator, "dptrain/kernels/a.py", "f = numba.njit(g)"),
    (relaxes_float_arithmetic, "dptrain/kernels/a.py", "f = kernel(g, fastmath=True)"),
    (unpickles, "dptrain/runs/a.py", "import pickle"),
    (unpickles, "workers/a.py", "from marshal import loads"),
    (unpickles, "dptrain/data/a.py", "np.load(f, allow_pickle=True)"),
    (runs_text, "dptrain/cli/a.py", "eval(text)"),
    (draws_from_a_generator_with_a_position, "dptrain/data/a.py", "r = np.random.default_rng(0)"),
    (draws_from_a_generator_with_a_position, "dptrain/data/a.py", "from random import shuffle"),
    (adds_in_an_order_not_written_down, "dptrain/nn/a.py", "y = x @ w"),
    (adds_in_an_order_not_written_down, "dptrain/kernels/conv.py", "y = np.einsum('ij->i', x)"),
    (asks_the_c_library_for_a_function, "dptrain/optim/a.py", "lr = math.cos(t)"),
    (prints, "dptrain/nn/a.py", "print(1)"),
    (imports_torch, "dptrain/runs/a.py", "from torch import load"),
]


def breaches(rule, path, text):
    """ "path:line: source" of every node of `text` that breaks `rule`."""
    return [f"{path}:{n.lineno}: {ast.unparse(n)[:80]}" for n in nodes(text) if rule(path, n)]


@cache
def nodes(text):
    """Every node of the syntax tree of `text`. All rules look at the same files, which are parsed once."""
    return list(ast.walk(ast.parse(text)))


@cache
def sources():
    """(path relative to the repository, text) of every Python file of ours."""
    files = [f for folder in FOLDERS for f in sorted((ROOT / folder).rglob("*.py"))]
    return [(f.relative_to(ROOT).as_posix(), f.read_text()) for f in files]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in RULES), ids=lambda rule: rule.__name__)
def test_no_file(rule):
    assert [line for path, text in sources() for line in breaches(rule, path, text)] == []


@pytest.mark.parametrize(("rule", "path", "line"), RULES)
def test_each_rule_sees_a_line_that_breaks_it(rule, path, line):
    assert breaches(rule, path, line)


def test_the_exceptions_of_the_rules_are_still_needed():
    texts = dict(sources())
    assert {path for path in UNPICKLERS if "pickle" in texts.get(path, "")} == UNPICKLERS
    assert {path for path in MEANINGLESS if "np.random" in texts.get(path, "")} == MEANINGLESS


# --- names and words


def committed_texts():
    """(path, text) of everything of ours that is text."""
    top = [f for f in ROOT.iterdir() if f.is_file() and f.name != ".git"]
    below = [
        f for folder in FOLDERS for f in (ROOT / folder).rglob("*") if f.is_file() and "__pycache__" not in f.parts
    ]
    for file in sorted(top + below):
        try:
            yield file.relative_to(ROOT).as_posix(), file.read_text()
        except UnicodeDecodeError:
            continue


def test_no_file_has_a_name_that_says_nothing():
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager", "base"}
    assert [path for path, _ in sources() if Path(path).stem in empty] == []


#: A path of one machine, or a mirror's address. Written in two halves: this file is read, too.
LOCAL = re.compile(
    r"(?<![\w.~-])/(work|"
    + r"root|opt/wheels|opt/pypi|home/[a-z])\b|files\.python"
    + r"hosted|(?:pip|npm|pypi)[\w.-]*\.internal"
)


def test_no_file_names_a_path_or_a_registry_of_one_machine():
    found = [
        f"{path}:{number}: {line.strip()[:80]}"
        for path, text in committed_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if LOCAL.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("line", ["see /" + "work/shared", 'p = "/' + 'root/.cache"', "find-links = /" + "opt/wheels"])
def test_the_search_for_paths_of_one_machine_sees_one(line):
    assert LOCAL.search(line)
